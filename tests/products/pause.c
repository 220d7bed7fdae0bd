// Holds the namespaces of a pod: waits to be told to end, and reaps what its siblings leave behind.
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static void end(int signal_number) {
    (void)signal_number;
    _exit(0);
}

static void reap(int signal_number) {
    (void)signal_number;
    while (waitpid(-1, NULL, WNOHANG) > 0) {
    }
}

int main(int argc, char **argv) {
    // kubeadm's upgrade check runs it like this, and waits for its success.
    if (argc > 1 && strcmp(argv[1], "-v") == 0) {
        puts("pause");
        return 0;
    }
    signal(SIGINT, end);
    signal(SIGTERM, end);
    signal(SIGCHLD, reap);
    for (;;) {
        pause();
    }
}
