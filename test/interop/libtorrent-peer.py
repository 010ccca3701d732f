"""An SSL-torrent peer of libtorrent's, as a stock client has it, driven by lines of JSON on its standard input.

Takes one line of settings first, then commands; writes one line of JSON for each command and for each state change:
  settings  {"torrent", "certificate", "key", "saveFolder", "listenPort", "isSeed"}   files are paths
  command   {"connect": port}     dials a peer at 127.0.0.1
  command   {"status": true}      answers with the status
The end of the input ends it.
"""

import json
import sys
import threading
import time

import libtorrent as lt

REPORT_SECONDS = 0.1


ALERTS = (
    lt.alert.category_t.error_notification
    | lt.alert.category_t.peer_notification
    | lt.alert.category_t.connect_notification
    | lt.alert.category_t.tracker_notification
    | lt.alert.category_t.status_notification
)

output_lock = threading.Lock()


def say(**line):
    with output_lock:
        print(json.dumps(line), flush=True)


def make_session(port):
    listen = f"127.0.0.1:{port}s"
    return lt.session({
        "listen_interfaces": listen,
        "enable_dht": False,
        "enable_lsd": False,
        "enable_upnp": False,
        "enable_natpmp": False,
        "enable_incoming_utp": False,
        "enable_outgoing_utp": False,
        # The tracker of a test is on loopback, where libtorrent otherwise allows only paths that begin with /announce.
        "ssrf_mitigation": False,
        # All peers of a test are on one address.
        "allow_multiple_connections_per_ip": True,
        "alert_mask": ALERTS,
    })


def add_torrent(session, settings):
    parameters = lt.add_torrent_params()
    parameters.ti = lt.torrent_info(settings["torrent"])
    parameters.save_path = settings["saveFolder"]
    # Paused until the certificate is set: without one its peers would be refused.
    parameters.flags = parameters.flags & ~lt.torrent_flags.auto_managed | lt.torrent_flags.paused
    if settings["isSeed"]:
        parameters.flags |= lt.torrent_flags.seed_mode
    handle = session.add_torrent(parameters)
    # Without Diffie-Hellman parameters, which TLS 1.3 has no use for, libtorrent stops the torrent; resuming clears that.
    handle.set_ssl_certificate(settings["certificate"], settings["key"], "")
    handle.resume()
    return handle


def status_of(handle):
    status = handle.status()
    return {
        "infoHash": str(status.info_hashes.v1),
        "state": str(status.state),
        "isSeed": status.is_seeding,
        "peers": status.num_peers,
        "downloadedBytes": status.total_payload_download,
        "uploadedBytes": status.total_payload_upload,
        "doneBytes": status.total_done,
        "trackers": [
            {"url": tracker["url"], "message": tracker["message"]} for tracker in handle.trackers()
        ],
    }


def report_alerts(session, stopped):
    while not stopped.is_set():
        for alert in session.pop_alerts():
            say(alert=type(alert).__name__, message=alert.message())
        time.sleep(REPORT_SECONDS)


def main():
    settings = json.loads(sys.stdin.readline())
    session = make_session(settings["listenPort"])
    handle = add_torrent(session, settings)
    stopped = threading.Event()
    reporter = threading.Thread(target=report_alerts, args=(session, stopped))
    reporter.start()
    say(ready=True)
    for line in sys.stdin:
        command = json.loads(line)
        if "connect" in command:
            handle.connect_peer(("127.0.0.1", command["connect"]))
            say(connecting=command["connect"])
        else:
            say(status=status_of(handle))
    stopped.set()
    reporter.join()


main()
