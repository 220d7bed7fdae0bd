# Tries ports between hosts: listens on those that are free here, for a few seconds, and visits those of others.
# Equal to peers.py; every host runs one of them at the same time. Needs no more than perl-base.
#
# Arguments: SECONDS NAME TOKEN, then any number of
#   listen PROTOCOL ADDRESS PORT VISITORS   how many others will come
#   echo PROTOCOL ADDRESS PORT              to a port that listens for this: it must answer with the token
#   connect tcp ADDRESS PORT                to a port that is in use: a connection is enough
# Output, where N counts the arguments from 0: `busy N` for a port that cannot be listened on, `reached N`, and
# `failed N REASON`. A visitor says `TOKEN NAME`, hears `TOKEN`, and on UDP says `TOKEN NAME done` then: who was heard
# may leave.
use strict;
use warnings;
use Errno qw(EINPROGRESS);
use IO::Handle;
use POSIX ();
use Socket qw(:DEFAULT inet_pton pack_sockaddr_in6 AF_INET6 IPPROTO_TCP);

my ($seconds, $name, $token, @specs) = @ARGV;
$SIG{PIPE} = 'IGNORE';
STDOUT->autoflush(1);
# Seconds one attempt may take, seconds before the next, and how many may be under way.
my ($attempt, $pause, $most) = (1.5, 0.2, 200);

# Seconds since some time before: perl-base has no finer clock than that of the scheduler.
sub now { return (POSIX::times())[0] / 100 }

sub address {
    my ($address, $port) = @_;
    return $address =~ /:/
        ? (AF_INET6, pack_sockaddr_in6($port, inet_pton(AF_INET6, $address)))
        : (AF_INET, pack_sockaddr_in($port, inet_pton(AF_INET, $address)));
}

sub open_socket {
    my ($family, $protocol) = @_;
    socket(my $socket, $family, $protocol eq 'tcp' ? SOCK_STREAM : SOCK_DGRAM, 0) or die "no socket: $!\n";
    $socket->blocking(0);
    return $socket;
}

my (@listeners, @guests, @visits);
for my $number (0 .. $#specs) {
    my ($verb, $protocol, $address, $port, $visitors) = split ' ', $specs[$number];
    my ($family, $where) = address($address, $port);
    if ($verb ne 'listen') {
        push @visits, { number => $number, verb => $verb, protocol => $protocol, family => $family,
            where => $where, next => 0, reason => 'no answer' };
        next;
    }
    my $socket = open_socket($family, $protocol);
    setsockopt($socket, SOL_SOCKET, SO_REUSEADDR, 1) if $protocol eq 'tcp';
    if (bind($socket, $where) && ($protocol eq 'udp' || listen($socket, SOMAXCONN))) {
        push @listeners, { socket => $socket, protocol => $protocol, visitors => $visitors, seen => {} };
    } else {
        print "busy $number\n";
    }
}

# Whether a visit has ended well.
sub reached {
    my ($visit) = @_;
    print "reached $visit->{number}\n";
    $visit->{done} = 1;
    close delete $visit->{socket};
}

# Ends an attempt; there will be another.
sub again {
    my ($visit, $now, $reason) = @_;
    $visit->{reason} = $reason if $reason;
    close delete $visit->{socket} if $visit->{socket};
    $visit->{next} = $now + $pause;
}

my $end = now() + $seconds;
while ((my $now = now()) < $end) {
    my $under_way = grep { $_->{socket} } @visits;
    for my $visit (grep { !$_->{done} } @visits) {
        if ($visit->{socket}) {
            if ($now - $visit->{began} > $attempt) { again($visit, $now) }
            # A datagram may be lost.
            elsif ($visit->{protocol} eq 'udp' && $now - $visit->{sent} >= $pause) {
                $visit->{sent} = $now;
                send($visit->{socket}, "$token $name", 0);
            }
        } elsif ($visit->{next} <= $now && $under_way < $most) {
            $under_way++;
            @$visit{qw(socket began sent said)} = (open_socket(@$visit{qw(family protocol)}), $now, $now, 0);
            if (connect($visit->{socket}, $visit->{where})) {
                send($visit->{socket}, "$token $name", 0) if $visit->{protocol} eq 'udp';
            } elsif (!$!{EINPROGRESS}) {
                again($visit, $now, lc "$!");
            }
        }
    }
    last if !grep({ !$_->{done} } @visits) && !grep({ keys %{ $_->{seen} } < $_->{visitors} } @listeners);

    my ($read, $write) = ('', '');
    vec($read, fileno $_->{socket}, 1) = 1 for @listeners, @guests, grep { $_->{socket} } @visits;
    vec($write, fileno $_->{socket}, 1) = 1
        for grep { $_->{socket} && $_->{protocol} eq 'tcp' && !$_->{said} } @visits;
    next if select($read, $write, undef, 0.05) <= 0;
    $now = now();

    for my $listener (@listeners) {
        next unless vec($read, fileno $listener->{socket}, 1);
        if ($listener->{protocol} eq 'tcp') {
            while (accept(my $guest, $listener->{socket})) {
                $guest->blocking(0);
                push @guests, { socket => $guest, heard => '', listener => $listener };
            }
        } else {
            while (defined(my $from = recv($listener->{socket}, my $said, 512, 0))) {
                next unless $said =~ /^\Q$token\E (\S+)( done)?$/;
                if ($2) { $listener->{seen}{$1} = 1 }
                else { send($listener->{socket}, $token, 0, $from) }
            }
        }
    }
    for my $guest (@guests) {
        next unless vec($read, fileno $guest->{socket}, 1);
        my $got = sysread($guest->{socket}, $guest->{heard}, 512, length $guest->{heard});
        if ($guest->{heard} =~ /^\Q$token\E (\S+)\n/) {
            $guest->{listener}{seen}{$1} = 1;
            syswrite($guest->{socket}, "$token\n");
            $guest->{over} = 1;
        } elsif (!$got || length $guest->{heard} > 512) {
            $guest->{over} = 1;
        }
        close $guest->{socket} if $guest->{over};
    }
    @guests = grep { !$_->{over} } @guests;
    for my $visit (grep { $_->{socket} } @visits) {
        my $number = fileno $visit->{socket};
        if (vec($write, $number, 1)) {
            my $error = unpack 'i', getsockopt($visit->{socket}, SOL_SOCKET, SO_ERROR);
            if ($error) { local $! = $error; again($visit, $now, lc "$!") }
            elsif ($visit->{verb} eq 'connect') { reached($visit) }
            else { $visit->{said} = 1; syswrite($visit->{socket}, "$token $name\n") }
        } elsif (vec($read, $number, 1)) {
            my $got = sysread($visit->{socket}, my $said, 512);
            my $error = lc "$!";
            if ($got && $said =~ /^\Q$token\E\s*$/) {
                if ($visit->{protocol} eq 'udp') { send($visit->{socket}, "$token $name done", 0) for 1 .. 3 }
                reached($visit);
            } elsif (defined $got) { again($visit, $now, 'something else answers') }
            else { again($visit, $now, $error) }
        }
    }
}
print "failed $_->{number} $_->{reason}\n" for grep { !$_->{done} } @visits;
