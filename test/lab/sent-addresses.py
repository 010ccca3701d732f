"""Prints what a network namespace sends, one line for each new "protocol address port": the beginning of TCP connections,
and all of UDP. ICMP and neighbour discovery are the kernel's own. Argument: the host's own address."""
import socket
import struct
import sys

own = sys.argv[1]
IPV4, IPV6, TCP, UDP = 0x0800, 0x86DD, 6, 17
SYN, ACK = 0x02, 0x10
seen = set()
# ETH_P_ALL, on every interface.
tap = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(3))
print("listening", flush=True)
while True:
    packet, (_, kind, *_) = tap.recvfrom(65535)
    if kind == IPV4:
        protocol, header = packet[9], (packet[0] & 15) * 4
        source, target = (socket.inet_ntop(socket.AF_INET, packet[at : at + 4]) for at in (12, 16))
    elif kind == IPV6:
        protocol, header = packet[6], 40
        source, target = (socket.inet_ntop(socket.AF_INET6, packet[at : at + 16]) for at in (8, 24))
    else:
        continue
    if protocol not in (TCP, UDP) or len(packet) < header + 14:
        continue
    if kind == IPV4 and source != own and not source.startswith("127."):
        continue
    if protocol == TCP and packet[header + 13] & (SYN | ACK) != SYN:
        continue
    (port,) = struct.unpack("!H", packet[header + 2 : header + 4])
    line = f"{'tcp' if protocol == TCP else 'udp'} {target} {port}"
    if line not in seen:
        seen.add(line)
        print(line, flush=True)
