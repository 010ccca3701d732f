"""One libtorrent peer of the benchmark, asked by lines of JSON (see line-process.ts)."""

import base64
import json
import os
import sys

import libtorrent as lt

ALERT_WAIT_MS = 1000


def open_session(is_ssl):
    # libtorrent's own preset for throughput: long request queues, large send buffers, no limit on unchoked peers.
    settings = lt.high_performance_seed()
    settings.update(
        {
            "listen_interfaces": "127.0.0.1:0s" if is_ssl else "127.0.0.1:0",
            "enable_dht": False,
            "enable_lsd": False,
            "enable_upnp": False,
            "enable_natpmp": False,
            "enable_outgoing_utp": False,
            "enable_incoming_utp": False,
            # No message stream encryption, neither below SSL nor instead of it.
            "in_enc_policy": lt.enc_policy.disabled,
            "out_enc_policy": lt.enc_policy.disabled,
            # All peers share 127.0.0.1.
            "allow_multiple_connections_per_ip": True,
            "alert_mask": lt.alert.category_t.error_notification | lt.alert.category_t.status_notification,
        }
    )
    return lt.session(settings)


def is_failure(alert):
    if isinstance(alert, lt.torrent_error_alert):
        # It reports a missing file of Diffie-Hellman parameters (elliptic curves and TLS 1.3 need none), and
        # names no file then; for a certificate or key it would name theirs.
        return not (alert.error.category().name() == "asio.ssl" and alert.message().endswith(") "))
    return isinstance(alert, lt.file_error_alert)


def wait_for(session, kind):
    """Returns the next alert of `kind`; errors of the torrent end the wait."""
    while True:
        session.wait_for_alert(ALERT_WAIT_MS)
        for alert in session.pop_alerts():
            if is_failure(alert):
                raise RuntimeError(alert.message())
            if isinstance(alert, kind):
                return alert


class Peer:
    def __init__(self):
        self.ssl = None
        self.session = None
        self.port = 0
        self.handles = {}

    def open(self, question):
        self.ssl = question["ssl"]
        self.session = open_session(self.ssl is not None)
        # The binding of 2.0.8 does not tell the port of the SSL listener.
        self.port = wait_for(self.session, lt.listen_succeeded_alert).port
        return {}

    def add(self, question):
        if not question["isHolder"]:
            # Its files stay mapped into memory otherwise, which the next transfer needs.
            for earlier in self.handles.values():
                self.session.remove_torrent(earlier)
            self.handles.clear()
        params = lt.add_torrent_params()
        params.ti = lt.torrent_info(lt.bdecode(base64.b64decode(question["torrent"])))
        params.save_path = question["folder"]
        params.flags = lt.torrent_flags.seed_mode if question["isHolder"] else lt.torrent_flags.update_subscribe
        handle = self.session.add_torrent(params)
        if self.ssl:
            handle.set_ssl_certificate(self.ssl["certificateFile"], self.ssl["keyFile"], "")
        if not question["isHolder"]:
            wait_for(self.session, lt.torrent_checked_alert)
        self.handles[question["name"]] = handle
        return {"port": self.port}

    def download(self, question):
        for port in question["peerPorts"]:
            self.handles[question["name"]].connect_peer(("127.0.0.1", port))
        wait_for(self.session, lt.torrent_finished_alert)
        return {}

    def sent(self, question):
        return {"bytes": self.handles[question["name"]].status().total_payload_upload}


def main():
    peer = Peer()
    for line in sys.stdin:
        question = json.loads(line)
        try:
            answer = getattr(peer, question["do"])(question)
        except Exception as error:
            answer = {"error": repr(error)}
        print(json.dumps(answer), flush=True)
    # The session's own end would wait for a tracker, and there is none.
    os._exit(0)


main()
