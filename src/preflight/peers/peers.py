# Tries ports between hosts: the same as peers.pl, which tells what arguments and output are. Python 3.4 and later.
import errno, os, select, socket, sys, time

seconds, name, token, specs = float(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4:]
# Seconds one attempt may take, seconds before the next, and how many may be under way.
ATTEMPT, PAUSE, MOST = 1.5, 0.2, 200


def open_socket(family, protocol):
    opened = socket.socket(family, socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM)
    opened.setblocking(False)
    return opened


def words(text):
    return text.decode("utf-8", "replace").split()


class Listener:
    def __init__(self, opened, protocol, visitors):
        self.socket, self.protocol, self.visitors, self.seen = opened, protocol, visitors, set()

    def hear(self):
        try:
            while True:
                if self.protocol == "tcp":
                    guest, _ = self.socket.accept()
                    guest.setblocking(False)
                    guests.append(Guest(guest, self))
                    continue
                said, whence = self.socket.recvfrom(512)
                said = words(said)
                if len(said) == 3 and said[0] == token and said[2] == "done":
                    self.seen.add(said[1])
                elif len(said) == 2 and said[0] == token:
                    self.socket.sendto(token.encode(), whence)
        except OSError:
            pass


class Guest:
    def __init__(self, opened, listener):
        self.socket, self.listener, self.heard = opened, listener, b""

    def hear(self):
        try:
            got = self.socket.recv(512)
        except OSError:
            got = b""
        self.heard += got
        said = words(self.heard)
        if self.heard.endswith(b"\n") and len(said) == 2 and said[0] == token:
            self.listener.seen.add(said[1])
            try:
                self.socket.send(token.encode() + b"\n")
            except OSError:
                pass
        elif got and len(self.heard) <= 512:
            return
        self.socket.close()
        guests.remove(self)


class Visit:
    def __init__(self, number, verb, protocol, family, where):
        self.number, self.verb, self.protocol, self.family, self.where = number, verb, protocol, family, where
        self.socket, self.done, self.next, self.reason = None, False, 0, "no answer"

    def again(self, reason=None):
        self.reason = reason or self.reason
        self.socket.close()
        self.socket, self.next = None, time.monotonic() + PAUSE

    def reached(self):
        print("reached", self.number)
        self.socket.close()
        self.socket, self.done = None, True

    def send(self, text):
        try:
            self.socket.send(text.encode())
        except OSError:
            pass

    def begin(self, now):
        self.socket = open_socket(self.family, self.protocol)
        self.began = self.sent = now
        self.said = self.protocol == "udp"
        error = self.socket.connect_ex(self.where)
        if error not in (0, errno.EINPROGRESS):
            self.again(os.strerror(error).lower())
        elif self.said:
            self.send(token + " " + name)

    def go_on(self, now):
        if now - self.began > ATTEMPT:
            self.again()
        elif self.protocol == "udp" and now - self.sent >= PAUSE:
            self.sent = now
            self.send(token + " " + name)

    def connected(self):
        error = self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if error:
            self.again(os.strerror(error).lower())
        elif self.verb == "connect":
            self.reached()
        else:
            self.said = True
            self.send(token + " " + name + "\n")

    def hear(self):
        try:
            said = self.socket.recv(512)
        except OSError as error:
            self.again(os.strerror(error.errno).lower())
            return
        if words(said) != [token]:
            self.again("something else answers")
            return
        if self.protocol == "udp":
            for _ in range(3):
                self.send(token + " " + name + " done")
        self.reached()


listeners, guests, visits = [], [], []
for number, spec in enumerate(specs):
    spec = spec.split()
    verb, protocol, address, port = spec[:4]
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    where = (address, int(port))
    if verb != "listen":
        visits.append(Visit(number, verb, protocol, family, where))
        continue
    opened = open_socket(family, protocol)
    try:
        if protocol == "tcp":
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        opened.bind(where)
        if protocol == "tcp":
            opened.listen(128)
        listeners.append(Listener(opened, protocol, int(spec[4])))
    except OSError:
        print("busy", number)

end = time.monotonic() + seconds
while time.monotonic() < end:
    now = time.monotonic()
    under_way = sum(1 for visit in visits if visit.socket)
    for visit in visits:
        if visit.socket:
            visit.go_on(now)
        elif not visit.done and visit.next <= now and under_way < MOST:
            under_way += 1
            visit.begin(now)
    if all(visit.done for visit in visits) and all(len(it.seen) >= it.visitors for it in listeners):
        break
    trying = [visit for visit in visits if visit.socket]
    writers = {visit.socket: visit for visit in trying if not visit.said}
    readers = {it.socket: it for it in listeners + guests + trying if it.socket not in writers}
    ready, connected, _ = select.select(list(readers), list(writers), [], 0.05)
    for opened in connected:
        writers[opened].connected()
    for opened in ready:
        readers[opened].hear()
for visit in visits:
    if not visit.done:
        print("failed", visit.number, visit.reason)
