// Stands in for a Consul client on hosts that are too many for the real one, and for their init.
//
//   init            runs sshd and buries the dead
//   agent …         answers on 127.0.0.1:8500 what a client that has joined answers
//   validate …      finds everything valid
#include <arpa/inet.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static int answer(void) {
  int on = 1, door = socket(AF_INET, SOCK_STREAM, 0);
  struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(8500), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  setsockopt(door, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (bind(door, (struct sockaddr *)&at, sizeof at) || listen(door, 16)) return perror("bind"), 1;
  signal(SIGPIPE, SIG_IGN);
  char host[64];
  gethostname(host, sizeof host);
  for (;;) {
    char asked[2048], body[256], reply[1024];
    int guest = accept(door, 0, 0);
    if (guest < 0) continue;
    struct timeval patience = {.tv_sec = 2};
    setsockopt(guest, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    // One guest and one question at a time.
    ssize_t got = read(guest, asked, sizeof asked - 1);
    if (got > 0) {
      asked[got] = 0;
      if (strstr(asked, "/v1/status/leader")) strcpy(body, "\"10.78.0.2:8300\"");
      else if (strstr(asked, "/v1/catalog/node/")) snprintf(body, sizeof body, "{\"Node\":{\"Node\":\"%s\"}}", host);
      else snprintf(body, sizeof body, "{\"Config\":{\"Datacenter\":\"dc1\",\"NodeName\":\"%s\",\"NodeID\":\"stub\"}}", host);
      int length = snprintf(reply, sizeof reply,
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: %zu\r\n\r\n%s", strlen(body), body);
      if (write(guest, reply, length) != length) perror("write");
    }
    close(guest);
  }
}

int main(int count, char **words) {
  if (count < 2) return 2;
  if (!strcmp(words[1], "agent")) return answer();
  if (strcmp(words[1], "init")) return 0;
  if (fork() == 0) return execl("/usr/sbin/sshd", "/usr/sbin/sshd", "-D", (char *)0), 1;
  for (;;) if (wait(0) < 0) sleep(1);
}
