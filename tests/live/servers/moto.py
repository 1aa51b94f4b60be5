"""A moto server that answers one request at a time: the threaded one loses DynamoDB writes that it has acknowledged.

    moto.py [PORT [PIDFILE]]

Listens on loopback, on a free port unless one is given; prints its URL once it listens. Ends by SIGTERM, and, where its
standard input is a pipe, when that pipe is closed: a test that dies takes its server with it.
"""

import logging
import os
import stat
import sys
import threading

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server


def end_with_parent():
    if stat.S_ISFIFO(os.fstat(0).st_mode) or stat.S_ISSOCK(os.fstat(0).st_mode):

        def wait():
            while os.read(0, 4096):
                pass
            os._exit(0)

        threading.Thread(target=wait, daemon=True).start()


def main():
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 0
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = make_server("127.0.0.1", port, DomainDispatcherApplication(create_backend_app), threaded=False)
    end_with_parent()
    if len(sys.argv) > 2:
        with open(sys.argv[2], "w", encoding="ascii") as file:
            file.write(f"{os.getpid()}\n")
    print(f"http://127.0.0.1:{server.port}", flush=True)
    server.serve_forever()


main()
