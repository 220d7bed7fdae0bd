# The shell side of `bootstrap`: functions that a script's `main` calls. POSIX sh, for dash, busybox and bash.
#
# Probes only read and say what they saw; "absent" is an answer. Steps change one thing and fail loudly. What
# comes from a user is always an argument, quoted by the caller, and never part of the text of a command.
# shellcheck shell=sh

state_dir=/var/lib/bootstrap
lock_file=/run/bootstrap.lock
# In tenths of a second: a run that was killed has let go by then, also where an agent without a leader still holds its answer
# to it, and with that the connection.
lock_patience=150
nonce=''
probe=''
nl='
'

# ---- framing ----

# Opens a script: known locale, private files, and the sbin folders that a login shell may leave out.
start() {
  nonce=$1
  export LC_ALL=C PATH="$PATH:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
  umask 077
  printf '\n'
}

# Closes a reply; without this line the reader takes the link for broken.
finish_script() {
  printf '%s end\n' "$nonce"
}

# Sets $encoded, a record's value: one plain line as it is after `=`, a few plain lines with a bar between them after `|`, anything else
# as base64 after `~`.
encode() {
  case $1 in
    *[!\ -~"$nl"]* | *"$nl"*"|"* | *"|"*"$nl"*) encode_base64 "$1" ;;
    # Nothing is lost when it is taken apart at line breaks.
    *[!"$nl"]"$nl"*[!"$nl"])
      case $1 in
        "$nl"* | *"$nl$nl"*) encode_lines "$1" ;;
        *)
          set -f
          IFS=$nl
          # shellcheck disable=SC2086 # the lines become words
          set -- $1
          IFS='|'
          encoded="|$*"
          unset IFS
          set +f
          ;;
      esac
      ;;
    *"$nl"*) encode_lines "$1" ;;
    *) encoded="=$1" ;;
  esac
}

# Sets $encoded for lines of which some may be empty. Taking lines off costs as much as is left of the text, for each.
encode_lines() {
  if [ "${#1}" -gt 8192 ]; then
    encode_base64 "$1"
    return
  fi
  encoded='|' rest_of_lines=$1
  while [ "$rest_of_lines" != "${rest_of_lines#*"$nl"}" ]; do
    encoded=$encoded${rest_of_lines%%"$nl"*}'|'
    rest_of_lines=${rest_of_lines#*"$nl"}
  done
  encoded=$encoded$rest_of_lines
}

encode_base64() {
  # shellcheck disable=SC2046 # the lines become words, and its alphabet has nothing else that a shell takes apart
  join $(printf %s "$1" | base64)
  encoded="~$joined"
}

# Sets $joined, its arguments as one word: what `tr` would do in a process of its own.
join() {
  IFS=''
  joined="$*"
  unset IFS
}

# Says one observed value of the running probe.
say() {
  encode "$2"
  printf '%s seen %s %s %s\n' "$nonce" "$probe" "$1" "$encoded"
}

# Says the first line of a file, unless it cannot be read.
say_line() {
  [ -r "$2" ] || return 0
  IFS= read -r line <"$2" || : # it may lack its end
  say "$1" "$line"
}

# Says the bytes of a file as they are. Where they were said with others', the reader knows them by the path.
say_file() {
  case $contents in
    *"$nl$2$nl"*)
      encode "$2"
      printf '%s seen %s %s @%s\n' "$nonce" "$probe" "$1" "$encoded"
      return 0
      ;;
  esac
  # shellcheck disable=SC2046 # as in `encode`
  join $(base64 <"$2")
  printf '%s seen %s %s ~%s\n' "$nonce" "$probe" "$1" "$joined"
}

# Runs one probe, in this same shell: a process for each would be most of a look. When it fails, the reader makes its `error` of what
# it has printed on stderr, and the next probe goes on. So a probe never ends by `exit`, and leaves IFS and the options as they are.
probe() {
  probe=$1
  shift
  printf '%s next\n' "$nonce"
  "$@" || printf '%s failed %s %s\n' "$nonce" "$probe" "$?"
}

# Ends a probe with a message: `wrong … || return 1`, or as its last command.
wrong() {
  printf '%s\n' "$*" >&2
  return 1
}

# Ends a step with a message.
fail() {
  printf '%s\n' "$*" >&2
  exit 1
}

# Makes the folder for captured output and sees that it goes with the script, however that ends: FIRST-STEP.
start_steps() {
  first_step=$1
  work=$(mktemp -d "${TMPDIR:-/tmp}/bootstrap.XXXXXX" 2>&1) || {
    refuse "no temporary folder can be made: $work"
    return 1
  }
  trap 'rm -rf "$work"' EXIT
  trap 'exit 129' HUP
  trap 'exit 130' INT
  trap 'exit 141' PIPE
  trap 'exit 143' TERM
}

# Reports the first step as failed before anything was done.
refuse() {
  encode "$1"
  printf '%s begin %s\n%s finish %s 1 %s\n' "$nonce" "$first_step" "$nonce" "$first_step" "$encoded"
}

# Takes the host's lock for a run (descriptor 9), or says who holds it: WHO SINCE SECONDS.
# A script holds it while it lives. Then a small process holds it for the run's next script, while the connection
# lives and at most SECONDS: the lock of an operator who was killed, or whose machine died, is free by itself.
take_lock() {
  if ! command -v flock >/dev/null; then
    refuse 'flock is not installed: it keeps two runs apart (package util-linux)'
    return 1
  fi
  # In a subshell, since a failed redirection of `exec` would end the script.
  if ! (: >>"$lock_file") 2>"$work/trouble"; then
    refuse "the lock cannot be made: $(cat "$work/trouble")"
    return 1
  fi
  exec 9>>"$lock_file"
  if lock_wait "$1 since $2" 1200; then
    lock_keep "$1 since $2" "$3"
  else
    encode "$holder"
    printf '%s locked %s\n' "$nonce" "$encoded"
    return 1
  fi
}

# Waits for the lock at descriptor 9: WHOSE TENTHS. What keeps it for the same run, or for one whose connection is gone,
# gives way at once; another run may be ending just now; and of one whose connection is gone the last step ends within
# TENTHS, or not.
lock_wait() {
  looks=0
  until flock -n 9; do
    lock_read
    limit=$lock_patience pause=0.1 gone=''
    [ -z "$connection" ] || [ -e "/proc/$connection" ] || gone=yes
    if { [ -n "$gone" ] || [ "$holder" = "$1" ]; } && lock_is_kept; then
      kill -9 "$keeper" 2>/dev/null || true
      [ "$looks" -gt 0 ] || pause=0.01
    fi
    [ -z "$gone" ] || limit=$2
    looks=$((looks + 1))
    [ "$looks" -le "$limit" ] || return 1
    # Some builds of busybox only know whole seconds.
    sleep "$pause" 2>/dev/null || {
      sleep 1
      looks=$((looks + 9))
    }
  done
}

# Reads the lock's file: sets $holder, and the $keeper and $connection of the run.
lock_read() {
  holder='' keeper='' connection=''
  { read -r holder && read -r keeper connection; } <"$lock_file" || true
}

# Whether the keeper that the lock's file names is one, and not another process that got its number.
lock_is_kept() {
  [ -n "$keeper" ] || return 1
  while read -r line || [ -n "$line" ]; do
    case $line in *bootstrap-lock*) return 0 ;; esac
  done 2>/dev/null <"/proc/$keeper/cmdline"
  return 1
}

# Starts the process that keeps the lock at descriptor 9, and writes down whose it is: WHOSE SECONDS.
lock_keep() {
  keeper=''
  lock_connection
  if [ -n "$connection" ]; then
    setsid sh -c "$lock_keeper" bootstrap-lock "$connection" "$2" </dev/null >/dev/null 2>&1 &
    keeper=$!
  fi
  printf '%s\n%s %s\n' "$1" "$keeper" "$connection" >"$lock_file"
}

# Its first argument is the process that serves the connection.
# shellcheck disable=SC2016 # the variables are those of the process
lock_keeper='
left=$2
while [ "$left" -gt 0 ] && [ -e "/proc/$1" ]; do
  sleep 1 9>&-
  left=$((left - 1))
done'

# Sets $connection to the process that serves this connection and ends with it, or to nothing.
lock_connection() {
  connection=$$
  while [ "$connection" -gt 1 ]; do
    name=''
    read -r name <"/proc/$connection/comm" || true
    case $name in sshd* | dropbear*) return 0 ;; esac
    above=0
    while read -r name above; do
      [ "$name" != PPid: ] || break
    done <"/proc/$connection/status"
    connection=${above:-0}
  done
  connection=''
}

# Probe: who holds the lock and has not ended within some seconds.
lock_probe() {
  [ -r "$lock_file" ] && command -v flock >/dev/null || return 0
  # Mostly nobody has it.
  if flock -n 9; then return 0; fi 9<"$lock_file"
  (
    exec 9<"$lock_file"
    lock_wait '' 6000 || say holder "$holder"
  )
}

# Probe: ends what keeps the lock for a run over this same connection.
lock_drop() {
  lock_connection
  mine=$connection
  lock_read
  if [ "$connection" = "$mine" ] && lock_is_kept; then kill -9 "$keeper"; fi
}

# Announces a step.
begin() {
  step=$1 status=0
  : >"$work/output"
  printf '%s begin %s\n' "$nonce" "$step"
}

# Runs one call of the step, unless an earlier one failed. Call it bare: under `if`, `||` or `&&`, `set -e` is off.
call() {
  [ "$status" -eq 0 ] || return 0
  (
    set -eu
    "$@"
  ) >>"$work/output" 2>&1 </dev/null 9>&-
  status=$?
}

# The process that installs packages before their turn.
ahead=''

# Begins to install packages while other steps are taken: NAME... Where that fails, each step tries its own, and says what is wrong.
ahead() {
  (package_install "$@") >/dev/null 2>&1 </dev/null 9>&- &
  ahead=$!
}

# Waits until that has ended.
ahead_await() {
  [ -z "$ahead" ] || wait "$ahead" || :
  ahead=''
}

# Reports how the step ended, with the last lines it printed.
finish() {
  encoded='='
  [ ! -s "$work/output" ] || encode "$(tail -n 20 "$work/output" | tail -c 4096)"
  printf '%s finish %s %s %s\n' "$nonce" "$step" "$status" "$encoded"
  return "$status"
}

# ---- prefetch ----

# What many probes ask for is asked once, before the first of them: one process for each answer would be most of a look. A probe finds
# it here, and asks by itself for what is not here. Steps find nothing here: they ask for what is there now.
stats=''
links=''
link_stats=''
sums=''
contents=''
looked_at=''
users=''
groups=''
packages=''
asked_packages=''

# Looks at paths: READ DIGEST PATH... Of the first READ the content is said too, and of them and the next DIGEST it is known what they
# hold.
prefetch_paths() {
  to_read=$1 to_digest=$2
  shift 2
  stats=$(stat -c "$stat_format" -- "$@" 2>/dev/null)
  prefetch_links "$@"
  for path in "$@"; do
    shift
    if [ "$to_read" -gt 0 ]; then
      to_read=$((to_read - 1))
      if is_small_file "$path"; then contents=$contents$nl$path$nl; fi
    elif [ "$to_digest" -gt 0 ]; then
      to_digest=$((to_digest - 1))
    else
      continue
    fi
    # Of a link nobody reads what it leads to: that may be a program of 100 MB.
    if [ ! -L "$path" ] && [ -f "$path" ] && [ -r "$path" ]; then set -- "$@" "$path"; fi
  done
  [ "$#" -gt 0 ] || return 0
  sums=$(sha256sum -- "$@" 2>/dev/null)
  prefetch_contents "$@"
}

# Whether a path is a file of which the content is said, and not the digest alone. Sets $stat.
is_small_file() {
  [ ! -L "$1" ] && [ -f "$1" ] && path_stat "$1" && [ "${stat##* }" -le 262144 ] && [ -r "$1" ]
}

# Where the links among paths lead, and size and time of what is there: PATH...
prefetch_links() {
  for path in "$@"; do
    shift
    [ ! -L "$path" ] || set -- "$@" "$path"
  done
  [ "$#" -gt 0 ] || return 0
  targets=$(readlink -- "$@" 2>/dev/null)
  link_stats=$(stat -L -c '%s %Y//%n' -- "$@" 2>/dev/null)
  IFS=$nl
  set -f
  for target in $targets; do
    # Not a line for each: one has a line break in it, or this readlink takes one path alone.
    [ "$#" -gt 0 ] || break
    links=$links$target//$1$nl
    shift
    target=''
  done
  set +f
  unset IFS
  [ "$#$target" = 0 ] || links=''
}

# Says what is in those of the files that are to be read, in one piece, after size and digest of each: PATH...
prefetch_contents() {
  for path in "$@"; do
    shift
    case $contents in *"$nl$path$nl"*) ;; *) continue ;; esac
    path_stat "$path"
    digest_value "$path"
    encode "$path"
    printf '%s part %s %s %s\n' "$nonce" "${stat##* }" "$sum" "$encoded"
    set -- "$@" "$path"
  done
  [ "$#" -gt 0 ] || return 0
  # shellcheck disable=SC2046 # as in `encode`
  join $(cat -- "$@" | base64)
  printf '%s parts ~%s\n' "$nonce" "$joined"
}

# Looks at units: UNIT...
prefetch_units() {
  systemd_runs || return 0
  answer=$(systemctl show -p LoadState -p ActiveState -p SubState -p UnitFileState -p NeedDaemonReload -p FragmentPath -- "$@" 2>/dev/null)
  number=0 first=''
  IFS=$nl
  set -f
  for line in $answer; do
    # Each unit has the same properties in the same order.
    first=${first:-${line%%=*}}
    if [ "${line%%=*}" = "$first" ]; then
      number=$((number + 1))
      eval "state_$number=\$nl"
    fi
    eval "state_$number=\$state_$number\$line\$nl"
  done
  set +f
  unset IFS
  # Where a name is none there is less, and each is asked for alone.
  [ "$number" -ne "$#" ] || looked_at=" $* "
}

# Looks for users, or for groups, in the host's own file: passwd|group NAME-OR-NUMBER... Who is not there may be in another database.
prefetch_accounts() {
  [ -r "/etc/$1" ] || return 0
  found=''
  while read -r line; do
    number=${line#*:*:}
    case " $* " in *" ${line%%:*} "* | *" ${number%%:*} "*) found=$found$line$nl ;; esac
  done <"/etc/$1"
  case $1 in
    passwd) users=$found ;;
    group) groups=$found ;;
  esac
}

# Looks for packages: NAME...
prefetch_packages() {
  package_manager
  [ "$manager" = apt ] || return 0
  packages_listed "$@"
}

# ---- facts ----

# Probe: the host's clock, before all that takes time. busybox may know no parts of a second; then what follows the dot is no number.
clock_probe() {
  say epoch "$(date +%s.%N)"
}

# Says what kind of system this is.
facts() {
  for file in /etc/os-release /usr/lib/os-release; do
    if [ -r "$file" ]; then
      # Mostly it is a link to the other one.
      if [ -L "$file" ]; then
        link_target "$file"
        case $target in ../usr/lib/os-release | /usr/lib/os-release) file=/usr/lib/os-release ;; esac
      fi
      say_file os-release "$file"
      break
    fi
  done
  if [ -r /proc/sys/kernel/arch ]; then
    say_line hostname /proc/sys/kernel/hostname
    say_line kernel /proc/sys/kernel/osrelease
    say_line arch /proc/sys/kernel/arch
  else
    # In this order, whatever the order of the options.
    names=$(uname -n -r -m)
    say hostname "${names%% *}"
    names=${names#* }
    say kernel "${names% *}"
    say arch "${names##* }"
  fi
  say_line machine-id /etc/machine-id
  say addresses "$(ip -o addr show 2>/dev/null)"
  say ssh-connection "${SSH_CONNECTION:-}"
  user_fact
  package_manager
  say package-manager "$manager"
  if systemd_runs; then say init systemd; else say init other; fi
  resolver_facts ''
  if [ -f /sys/fs/cgroup/cgroup.controllers ]; then say cgroup 2; else say cgroup 1; fi
  # The first line is a heading.
  { read -r line && read -r line && say swap yes; } 2>/dev/null </proc/swaps || :
  # A container shows what its host has.
  [ -e /run/systemd/container ] || say_line product-uuid /sys/class/dmi/id/product_uuid
  for device in /sys/class/net/*/device; do
    [ ! -e "$device" ] || say_line mac "${device%/device}/address"
  done
}

# Says who runs this: mostly it is root, and no program need be asked.
user_fact() {
  while read -r key id _; do
    [ "$key" != Uid: ] || break
  done 2>/dev/null <"/proc/$$/status"
  if [ "${id:-}" = 0 ]; then say user root; else say user "$(id -un)"; fi
}

# Prints the first line of a file, without starting a program.
first_line() {
  read -r line <"$1" || true
  printf %s "$line"
}

# Sets $manager, the package manager's name, or nothing.
package_manager() {
  for manager in apt-get dnf apk; do
    if command -v "$manager" >/dev/null; then
      manager=${manager%-get}
      return 0
    fi
  done
  manager=''
}

# Says what /etc/resolv.conf is, who else may write it, and what systemd-resolved knows: ROOT, empty but in tests.
resolver_facts() {
  [ ! -r "$state_dir/resolver" ] || say_file resolver-before "$state_dir/resolver"
  conf=$1/etc/resolv.conf
  if [ -L "$conf" ]; then
    # Where it leads, also when nothing is there.
    say resolver-link "$(readlink -m "$conf" 2>/dev/null || readlink "$conf")"
  elif [ -e "$conf" ] && [ ! -f "$conf" ]; then
    say resolver-link ''
  elif [ -f "$conf" ]; then
    resolver_fixed "$conf"
  fi
  if [ -f "$conf" ] && [ -r "$conf" ]; then say_file resolv-conf "$conf"; fi
  found=''
  [ ! -d "$1/run/NetworkManager" ] || found="$found network-manager"
  [ ! -d "$1/etc/dhcp/dhclient-enter-hooks.d" ] || found="$found dhclient"
  [ ! -f "$1/etc/dhcpcd.conf" ] || found="$found dhcpcd"
  [ ! -f "$1/etc/resolvconf.conf" ] || found="$found openresolv"
  say resolver-writers "${found# }"
  [ ! -d "$1/run/systemd/resolve" ] || resolved_facts "$1"
}

# Says why a file cannot be replaced, if that is so.
resolver_fixed() {
  mounts_read
  case $nl$mounts in *"$nl$1 "*) say resolver-fixed mounted ;; esac
  if command -v lsattr >/dev/null; then
    flags=$(lsattr -d "$1" 2>/dev/null)
    case ${flags%% *} in *i*) say resolver-fixed immutable ;; esac
  fi
}

# Prints the words of a text, one blank between them: TEXT.
join_words() {
  # shellcheck disable=SC2086 # the words are wanted
  set -- $1
  printf %s "$*"
}

# Says what decides whether systemd-resolved can be given servers for one domain: ROOT.
resolved_facts() {
  version=$(systemctl --version 2>/dev/null)
  version=${version#systemd }
  say resolved-version "${version%%[!0-9]*}"
  grep -q '^ *[0-9]*: 3500007F:0035 ' /proc/net/udp && say resolved-stub yes
  [ ! -r "$1/run/systemd/resolve/resolv.conf" ] || say_file resolved-servers "$1/run/systemd/resolve/resolv.conf"
  # What comes later counts, as for systemd; blanks around `=` and at the ends count nowhere.
  for file in "$1"/etc/systemd/resolved.conf "$1"/usr/lib/systemd/resolved.conf.d/*.conf \
    "$1"/run/systemd/resolved.conf.d/*.conf "$1"/etc/systemd/resolved.conf.d/*.conf; do
    [ -r "$file" ] || continue
    while IFS='=' read -r key value || [ -n "$key" ]; do
      # shellcheck disable=SC2086 # the blanks go
      set -- "$1" $key
      [ "$#" = 2 ] || continue
      case $2 in
        DNS) say resolved-global "$(join_words "$value")" ;;
        DNSOverTLS) say resolved-tls "$(join_words "$value")" ;;
      esac
    done <"$file"
  done
  while read -r line || [ -n "$line" ]; do
    case "$line " in hosts:*" resolve "*) say resolved-nss yes ;; esac
  done 2>/dev/null <"$1/etc/nsswitch.conf"
  return 0
}

# ---- fitness ----

# Probe: PATH...: for each the nearest folder that exists (`w` if it can be written), the room there, and all mounts.
places_probe() {
  count=$#
  while [ "$count" -gt 0 ]; do
    above=$1
    shift
    while [ -n "$above" ] && [ ! -d "$above/." ]; do above=${above%/*}; done
    cd -P "${above:-/}" || return 1
    set -- "$@" "$PWD"
    count=$((count - 1))
  done
  cd /
  for folder in "$@"; do
    if [ -w "$folder" ]; then say folder "w $folder"; else say folder "r $folder"; fi
  done
  # File system, free blocks for users, block size, inodes and free inodes.
  room=$(stat -f -c '%i %a %S %c %d' "$@") || return 1
  IFS=$nl
  for line in $room; do say room "$line"; done
  unset IFS
  mounts_read
  say mounts "$mounts"
}

mounts=''

# Sets $mounts to the place and the options of each mount, a line each, unless they are known.
mounts_read() {
  [ -n "$mounts" ] || mounts=$(cut -d ' ' -f 2,4 /proc/self/mounts)
}

# Probe: NAME...: which of these file systems the kernel neither has nor can load.
filesystems_probe() {
  for name in "$@"; do
    grep -qw -e "$name" /proc/filesystems || modprobe -n -q "$name" 2>/dev/null || say missing "$name"
  done
}

# Probe: PORTS UNIT...: who listens on the ports, in hex and parted by `|`: protocol, local address, and the owner,
# which is `own` for a program of the units.
ports_probe() {
  listeners "$1"
  [ -n "$sockets" ] || return 0
  shift
  ports_own "$@"
  IFS=$nl
  for line in $sockets; do
    unset IFS
    port_seen "$line"
  done
  unset IFS
}

# Sets $sockets to the lines of /proc/net, each after its file's name, of TCP that listens (0A) and of UDP without a peer (07), on the
# ports. To make these files the kernel walks through all connections there could be; who asks it by its socket for those that listen
# is answered at once.
listeners() {
  if ! command -v perl >/dev/null || ! sockets=$(perl -e "$listeners_perl" -- "$1" 2>/dev/null); then
    sockets=$(grep -E "^ *[0-9]+: [0-9A-F]+:($1) [0-9A-F]+:0000 (0A|07) " \
      /proc/net/tcp /proc/net/tcp6 /proc/net/udp /proc/net/udp6 2>/dev/null)
  fi
}

# Asks as sock_diag(7) says: of each family and protocol a dump of the sockets in one state, read to its end (3), or to an error (2).
# shellcheck disable=SC2016 # the variables are perl's
listeners_perl='
socket my $kernel, 16, 3, 4 or die $!;
for ([2, 6, 10, "tcp"], [10, 6, 10, "tcp6"], [2, 17, 7, "udp"], [10, 17, 7, "udp6"]) {
  my ($family, $protocol, $state, $file) = @$_;
  syswrite $kernel, pack "LSSLL CCxxL x48", 72, 20, 0x301, 1, 0, $family, $protocol, 1 << $state or die $!;
  READING: while (1) {
    sysread $kernel, my $answer, 65536 or die $!;
    while (length $answer >= 16) {
      my ($length, $type, $port, $address, $inode) = unpack "LS x10 x4 n x2 a16 x16 x28 L", $answer . "\0" x 88;
      last READING if $type == 3;
      die if $type == 2 || $length < 88;
      $port = sprintf "%04X", $port;
      $address = join "", map { sprintf "%08X", $_ } unpack $family == 2 ? "L" : "L4", $address;
      printf "/proc/net/$file: 0: $address:$port 0:0000 %02X 0 0 0 0 0 $inode\n", $state if $port =~ /^(?:$ARGV[0])$/;
      substr $answer, 0, $length + 3 & ~3, "";
    }
  }
}'

# Sets $own to the open files of all processes of the units: UNIT...
ports_own() {
  own='' pids=''
  for unit in "$@"; do
    for group in /sys/fs/cgroup /sys/fs/cgroup/unified /sys/fs/cgroup/systemd; do
      [ -r "$group/system.slice/$unit/cgroup.procs" ] || continue
      while read -r pid; do pids="$pids /proc/$pid/fd"; done <"$group/system.slice/$unit/cgroup.procs"
    done
  done
  # shellcheck disable=SC2086 # numbers between slashes
  [ -z "$pids" ] || own=$(ls -ln $pids 2>/dev/null)
}

# Says one line of /proc/net, its file's name before it.
port_seen() {
  protocol=${1%%:*}
  # shellcheck disable=SC2086 # words of numbers
  set -- ${1#*:}
  at=$2 inode=${10}
  case $own in *"socket:[$inode]"*) say socket "${protocol##*/} $at own" && return 0 ;; esac
  # All processes are only looked at for a port that somebody else has.
  # shellcheck disable=SC2012 # names of numbers
  pid=$(ls -ln /proc/[0-9]*/fd 2>/dev/null |
    sed -n -e '/^\/proc/{s|^/proc/\([0-9]*\)/fd:.*|\1|;h;}' -e "/socket:.$inode]/{g;p;q;}")
  if [ -z "$pid" ]; then
    say socket "${protocol##*/} $at unknown"
  else
    unit=$(sed -n 's|^[0-9]*:\(name=systemd\)\{0,1\}:.*/\([^/]\{1,\}\)$|\2|p' "/proc/$pid/cgroup" 2>/dev/null)
    unit=${unit%%"$nl"*}
    say socket "${protocol##*/} $at $pid ${unit:--} $(first_line "/proc/$pid/comm" 2>/dev/null)"
  fi
}

# Probe: PERL PYTHON ARG...: the one of two equal programs that this host can run; it tries ports between hosts.
peers_probe() {
  perl=$1 python=$2
  shift 2
  if command -v perl >/dev/null; then
    results=$(perl -e "$perl" -- "$@") || return 1
  elif command -v python3 >/dev/null; then
    results=$(python3 -c "$python" "$@") || return 1
  else
    say missing yes
    return 0
  fi
  say results "$results"
}

# ---- paths and files ----

# Fails when a path only looks absent because a folder above it cannot be searched.
path_absence() {
  above=$1
  while [ -n "$above" ] && [ ! -e "$above" ]; do above=${above%/*}; done
  [ -x "${above:-/}/." ] || wrong "cannot look below $above: not a folder, or permission denied"
}

# What `stat` tells of a path: when it was last written, mode, numeric and named owner and group, size; and which path it is.
stat_format='%Y %a %u %g %U %G %s//%n'

# Sets $stat to mode, owners and size of a path, and $written to when it was last written.
path_stat() {
  line_ending "//$1" "$stats"
  stat=${line%"//$1"}
  # One that is not there, or that is another's end.
  case $stat in
    '' | */*)
      stat=$(stat -c "$stat_format" -- "$1") || return 1
      stat=${stat%"//$1"}
      ;;
  esac
  written=${stat%% *}
  stat=${stat#* }
}

# Sets $link_stat to size and time of what a link leads to.
link_stat() {
  line_ending "//$1" "$link_stats"
  link_stat=${line%"//$1"}
  case $link_stat in '' | */*) link_stat=$(stat -L -c '%s %Y' -- "$1" 2>/dev/null) || : ;; esac
}

# Sets $line to the first of some lines that ends so, or to nothing: END LINES. By the line, since what takes text apart by patterns is
# slow in a shell: its time grows with the square of the text.
line_ending() {
  line=''
  IFS=$nl
  set -f
  for line in $2; do
    case $line in *"$1") break ;; esac
    line=''
  done
  set +f
  unset IFS
}

# Sets $target to where a link leads.
link_target() {
  line_ending "//$1" "$links"
  target=${line%"//$1"}
  # Another's end, if it has two slashes in it.
  case $target in '' | *//*) target=$(readlink "$1") ;; esac
}

# Says what is at a path: its type, and mode, numeric and named owner and group, and size.
path_seen() {
  kind=''
  if [ -L "$1" ]; then
    link_target "$1"
    say target "$target"
    say type link
    return 0
  elif [ -f "$1" ]; then
    kind='file'
  elif [ -d "$1" ]; then
    kind=directory
  elif [ -e "$1" ]; then
    kind=other
  else
    path_absence "$1" || return 1
    say type absent
    return 0
  fi
  path_stat "$1" || return 1
  say stat "$stat"
  say type "$kind"
}

# Probe: a folder, also one that a link leads to.
directory_probe() {
  if [ -L "$1" ] && [ -d "$1" ]; then path_seen "$1/."; else path_seen "$1"; fi
}

# Probe: a file; its bytes if asked to `read` them and they are few enough, else its digest.
file_probe() {
  path_seen "$1" || return 1
  [ "$kind" = file ] || return 0
  [ -r "$1" ] || wrong "cannot read $1: permission denied" || return 1
  if [ "$2" = read ] && [ "${stat##* }" -le 262144 ]; then
    say_file body "$1"
  else
    digest_value "$1"
    say sha256 "$sum"
  fi
}

# Probe: a certificate and its key in one file: all but the key, and whether there is one.
certificate_probe() {
  file_probe "$1" digest || return 1
  [ "$kind" = file ] || return 0
  public=$(awk '
    /^-----BEGIN CERTIFICATE-----/ { shown = 1 }
    shown
    /^-----END CERTIFICATE-----/ { shown = 0 }
    /^-----END .*PRIVATE KEY-----/ { key = 1 }
    END { print key ? "yes" : "no" }' <"$1")
  say key "${public##*"$nl"}"
  say certificate "$public"
}

# Probe: a JSON file in which others write too, and what this program merged into it last.
merged_probe() {
  file_probe "$1" read || return 1
  path_name "$1"
  [ ! -r "$state_dir/merged/$name" ] || say_file merged "$state_dir/merged/$name"
}

# Step: notes what is merged into a JSON file, before that is done: PATH BASE64.
merged_note() {
  path_name "$1"
  mkdir -p "$state_dir/merged"
  keep_old "$state_dir/merged/$name"
  decode_into "$state_dir/merged/.$name" "$2"
  into_place "$state_dir/merged/.$name" "$state_dir/merged/$name"
}

# Forgets what was merged into a file that is made what it was before: PATH.
merged_forget() {
  path_name "$1"
  rm -f "$state_dir/merged/$name"
}

# Probe: the content of a file, whatever its name.
file_read() {
  file_probe "$1" read
}

# Prints the sha256 of a file, or `absent`.
digest() {
  digest_value "$1"
  printf %s "$sum"
}

# Sets $sum, the sha256 of a file, or `absent`.
digest_value() {
  sum=absent
  [ -e "$1" ] || return 0
  line_ending "  $1" "$sums"
  sum=${line%"  $1"}
  # A path with blanks in it may be another's end.
  case $sum in '' | *[!0-9a-f]*) ;; *) return 0 ;; esac
  sum=$(sha256sum <"$1")
  sum=${sum%% *}
}

# Step: makes a folder; folders above it get the usual mode.
directory_ensure() {
  undo_record undo_directory "$1"
  if [ -d "$1" ]; then
    chown "$3:$4" "$1"
  else
    (umask 022 && mkdir -p "$1")
    is_owned_by "$3:$4" "$1" || chown "$3:$4" "$1"
  fi
  chmod "$2" "$1"
}

# Step: sets mode and owner of a file.
path_owner() {
  undo_record undo_file "$1" "$(digest "$1")"
  keep_old "$1"
  chown "$3:$4" "$1"
  chmod "$2" "$1"
}

# Step: writes a file: PATH MODE OWNER GROUP SEEN WANTED-DIGEST BASE64 [VALIDATOR ARG... with %s for the file].
# SEEN is what stood there: a digest, `absent`, or `link TARGET` for a symbolic link that is to be replaced.
file_write() {
  path=$1 mode=$2 owner=$3 group=$4 seen=$5 wanted=$6 body=$7
  shift 7
  case $seen in 'link '*) ;; *) [ ! -L "$path" ] || fail "$path is a symbolic link" ;; esac
  if [ "$#" -eq 0 ] || is_validated "$path" "$wanted"; then stage "$path" plain; else stage "$path"; fi
  # The usual modes it has from the first, without a program that sets them.
  case $mode in
    0600) staged_mode=$mode ;;
    0640) umask 027 && staged_mode=$mode ;;
    0644) umask 022 && staged_mode=$mode ;;
  esac
  decode_into "$staged" "$body"
  umask 077
  put_staged "$path" "$mode" "$owner" "$group" "$seen" "$wanted" "$@"
}

# Writes bytes into a file: FILE BASE64. A here-document costs a process less than a pipe.
decode_into() {
  base64 -d >"$1" <<END
$2
END
}

# Puts what was staged in the place of a file: PATH MODE OWNER GROUP SEEN WANTED-DIGEST [VALIDATOR ARG...]
put_staged() {
  path=$1 mode=$2 owner=$3 group=$4 seen=$5 wanted=$6
  shift 6
  digest_value "$staged"
  [ "$sum" = "$wanted" ] || fail "$path arrived damaged, or the disk is full"
  is_owned_by "$owner:$group" "$staged" || chown "$owner:$group" "$staged"
  [ "$mode" = "$staged_mode" ] || chmod "$mode" "$staged"
  if [ "$#" -gt 0 ] && ! is_validated "$path" "$wanted"; then validate "$staged" "$@"; fi
  unchanged "$path" "$seen"
  undo_record undo_file "$path" "$wanted"
  keep_old "$path"
  into_place "$staged" "$path"
}

# Whether a file that was just made has these owners already, as far as that is known without a program: OWNER:GROUP FILE.
is_owned_by() {
  [ "$1" = root:root ] || return 1
  # shellcheck disable=SC3067 # dash, busybox and bash have it
  [ -O / ] && [ -O "$2" ] && [ -G "$2" ]
}

# Gives a fresh file the place of another: FRESH PATH. The file system may keep the rename before the bytes: after a power cut
# between the two there would be an empty file, and neither the old nor the new.
into_place() {
  flush "$1"
  mv -f "$1" "$2"
}

# FILE...: their bytes are on the disk.
flush() {
  # An old busybox knows no names here.
  sync "$@" 2>/dev/null || sync
}

# Sets $staged, a place beside a file for what is to replace it, so that the last rename stays on one file system; no daemon reads it
# there: PATH [plain]. Without `plain` it is in a folder of its own and has the file's name, so that validators that go by the name
# or its ending take it.
stage() {
  [ ! -d "$1" ] || fail "$1 is a folder"
  [ -d "${1%/*}/" ] || fail "the folder ${1%/*} does not exist"
  staging=${1%/*}/.${1##*/}.bootstrap
  gone "$staging"
  trap 'gone "$staging"' EXIT
  staged_mode='' staged=$staging
  [ "${2:-}" != plain ] || return 0
  mkdir -m 700 "$staging"
  staged=$staging/${1##*/}
}

# Sets $found, what stands at a path: `link TARGET`, a digest, or `absent`.
stands_at() {
  if [ -L "$1" ]; then
    found="link $(readlink "$1")"
  else
    digest_value "$1"
    found=$sum
  fi
}

# Fails unless a path holds what was seen there: PATH SEEN. What a package of this run has brought is nobody's own.
unchanged() {
  stands_at "$1"
  if [ "$found" = "$2" ]; then return; fi
  if [ "$2" = absent ] && as_packaged "$1"; then return; fi
  fail "$1 changed on the host since it was observed; plan again"
}

# Whether a file is of a package, and as the package has it.
as_packaged() {
  if command -v dpkg-query >/dev/null; then
    owner=$(dpkg-query -S "$1" 2>/dev/null) || return 1
    owner=${owner%%: *}
    differs=$(dpkg --verify "${owner%%,*}") || :
  elif command -v rpm >/dev/null; then
    rpm -qf "$1" >/dev/null 2>&1 || return 1
    differs=$(rpm -Vf "$1") || :
  else
    return 1
  fi
  case "$differs$nl" in *" $1$nl"*) return 1 ;; esac
}

# What one call of a validator has taken, a line each: PATH DIGEST.
validated=''

# Whether a file has been tried together with others: PATH DIGEST.
is_validated() {
  case "$nl$validated$nl" in *"$nl$1 $2$nl"*) ;; *) return 1 ;; esac
}

# Before steps: has a program try all files that it will read together, and prints those that it takes: COUNT WORD... (the program
# and what it is told before the files), then PATH DIGEST BASE64 of each file. Where it refuses one, or is not there yet, nothing is
# printed: each step tries its own file, and says what is wrong with it.
validate_together() {
  (
    set -eu
    together=$work/together count=$1
    shift
    mkdir -m 700 "$together"
    left=$(($# - count)) taken=''
    while [ "$count" -gt 0 ]; do
      set -- "$@" "$1"
      shift
      count=$((count - 1))
    done
    while [ "$left" -gt 0 ]; do
      fresh=$together/${1##*/}
      decode_into "$fresh" "$3"
      taken="$taken$1 $2$nl"
      shift 3
      set -- "$@" "$fresh"
      left=$((left - 3))
    done
    umask 022
    command "$@" >/dev/null 2>&1 </dev/null 9>&-
    printf %s "$taken"
  ) 2>/dev/null
  rm -rf "$work/together"
}

# Runs a validator on a staged file; %s in its arguments stands for the file.
validate() {
  staged=$1 count=$#
  shift
  while [ "$count" -gt 1 ]; do
    word=$1
    shift
    case $word in *%s*) word=${word%%%s*}$staged${word#*%s} ;; esac
    set -- "$@" "$word"
    count=$((count - 1))
  done
  (umask 022 && command "$@") || fail "$path is unchanged: the new content was refused by $1"
}

# Step: lets a symbolic link lead to a target, in one rename.
link_place() {
  [ -d "${1%/*}" ] || (umask 022 && mkdir -p "${1%/*}")
  [ -L "$1" ] || [ ! -d "$1" ] || fail "$1 is a folder"
  undo_record undo_file "$1" "link $2"
  keep_old "$1"
  gone "${1%/*}/.${1##*/}.bootstrap"
  ln -s "$2" "${1%/*}/.${1##*/}.bootstrap"
  mv -f "${1%/*}/.${1##*/}.bootstrap" "$1"
}

# ---- ledger ----

# What removable roles changed, so that it can be put back. Each thing has a folder, named by the caller, with
#   what   what it is, and how it was before: written before the first change, and never again;
#   now    whose it is and what was made of it: written before each change;
#   ask    the probe that looks at it, a word a line;
#   body   the bytes of a file, as they were;
#   shown  the same, where a plan may show them.
# The lines of the first two are keys and values as records have them, so that a probe says them as they stand. A folder
# counts when `now` is in it, which is written last: a run that was killed leaves none that is half.
undo_entry='' undo_role='' undo_secret=''

# Step: runs a function of a step on behalf of a removable role: ENTRY ROLE SECRET(yes|no) FUNCTION ARG...
removable() {
  undo_entry=$state_dir/undo/$1 undo_role=$2 undo_secret=$3
  shift 3
  "$@"
}

# Makes the folders of what a script will write down, all by one process: ENTRY...
undo_begin() {
  for entry in "$@"; do
    shift
    [ -e "$state_dir/undo/$entry" ] || set -- "$@" "$state_dir/undo/$entry"
  done
  # Where this fails the step says so that needs one.
  [ "$#" -eq 0 ] || mkdir -p "$@" 2>/dev/null || :
}

# Writes a thing down before it is changed: FUNCTION ARG...; the function prints `what`, `now` or `ask`, its first argument.
undo_record() {
  [ -n "$undo_entry" ] || return 0
  undo_is_new=yes
  if undo_is_whole "$undo_entry"; then undo_is_new=no; fi
  (
    umask 077
    record=$1
    shift
    if [ "$undo_is_new" = no ]; then
      for part in ask now; do
        "$record" "$part" "$@" >"$undo_entry/.$part"
        into_place "$undo_entry/.$part" "$undo_entry/$part"
      done
      exit 0
    fi
    # What a run has left that was killed here.
    for part in what ask now body; do
      [ ! -e "$undo_entry/$part" ] || rm -rf "$undo_entry"
    done
    [ -d "$undo_entry" ] || mkdir -p "$undo_entry"
    undo_was_there=no
    for part in what ask; do "$record" "$part" "$@" >"$undo_entry/$part"; done
    # Soon these may be the only bytes of what was there. That nothing was is soon on the disk too, and nobody waits for it.
    [ "$undo_was_there" = no ] || flush "$undo_entry"/*
    # The last: with it the entry counts.
    "$record" now "$@" >"$undo_entry/now"
    [ "$undo_was_there" = no ] || flush "$undo_entry/now"
  )
}

# ENTRY: whether all of it is there: of one that says that nothing was there, a power cut may have left empty files.
undo_is_whole() {
  [ -s "$1/what" ] && [ -s "$1/now" ] && { [ -s "$1/ask" ] || ! grep -Eq '^kind =(file|directory|unit)$' "$1/what"; }
}

# Prints a line of an entry.
undo_line() {
  encode "$2"
  printf '%s %s\n' "$1" "$encoded"
}

# Prints a part of a file's entry: what|now|ask PATH WANTED-DIGEST.
undo_file() {
  case $1 in
    what) undo_file_before "$2" ;;
    ask)
      if [ "$undo_secret" = yes ]; then
        [ ! -e "$undo_entry/shown" ] || rm -f "$undo_entry/shown"
        printf '%s\n' file_probe "$2" digest
      else
        printf '%s\n' file_probe "$2" 'read'
      fi
      ;;
    now)
      undo_line role "$undo_role"
      undo_line secret "$undo_secret"
      # What this program wrote before counts until the change is made.
      if [ "$undo_is_new" = no ]; then
        stands_at "$2"
        if [ "$found" != "$3" ] && grep -qx "written =$found" "$undo_entry/now"; then undo_line written "$found"; fi
      fi
      undo_line written "$3"
      ;;
  esac
}

# Prints what stands at a path, and keeps the bytes of a file.
undo_file_before() {
  undo_line kind 'file'
  undo_line at "$1"
  if [ -e "$1" ] || [ -L "$1" ]; then undo_was_there=yes; fi
  if [ -L "$1" ]; then
    undo_line before link
    undo_line link "$(readlink "$1")"
    undo_line access "$(stat -c '%a %u %g' "$1")"
  elif [ -e "$1" ]; then
    cat "$1" >"$undo_entry/body"
    if [ "$(stat -c %s "$undo_entry/body")" -le 262144 ]; then ln "$undo_entry/body" "$undo_entry/shown"; fi
    undo_line before 'file'
    undo_line access "$(stat -c '%a %u %g' "$1")"
    undo_line digest "$(digest "$undo_entry/body")"
  else
    undo_line before absent
  fi
}

# Prints a part of a folder's entry: what|now|ask PATH.
undo_directory() {
  case $1 in
    now) undo_line role "$undo_role" ;;
    ask) printf '%s\n' directory_probe "$2" ;;
    what)
      undo_line kind directory
      undo_line at "$2"
      if [ -d "$2" ]; then
        undo_was_there=yes
        undo_line before directory
        undo_line access "$(stat -L -c '%a %u %g' "$2")"
        return 0
      fi
      undo_line before absent
      undo_made "${2%/*}"
      ;;
  esac
}

# Prints those of a folder and all above it that will be made too, the deepest first.
undo_made() {
  above=$1
  while [ -n "$above" ] && [ ! -e "$above" ]; do
    undo_line made "$above"
    above=${above%/*}
  done
}

# Prints a part of the entry of what a release is unpacked into: what|now|ask FOLDER.
undo_release() {
  case $1 in
    what)
      undo_line kind release
      undo_line at "$2"
      undo_made "${2%/*}"
      ;;
    now) undo_line role "$undo_role" ;;
  esac
}

# Prints a part of the entry of an account that was not there: what|now|ask user|group NAME.
undo_account() {
  case $1 in
    what)
      undo_line kind "$2"
      undo_line at "$3"
      ;;
    now) undo_line role "$undo_role" ;;
  esac
}

# Prints a part of the entry of a kernel parameter, which a command gives its live value back: what|now|ask KEY LIVE-FILE.
undo_sysctl() {
  case $1 in
    what)
      undo_was_there=yes
      undo_line kind 'exec'
      undo_line at "sysctl $2"
      # shellcheck disable=SC2016 # the shell of that command is to expand it
      for word in sh -c 'printf "%s\n" "$1" >"$2"' sysctl "$(cat "$3")" "$3"; do
        undo_line word "$word"
      done
      ;;
    now) undo_line role "$undo_role" ;;
  esac
}

# Prints the words of the probe of $unit, a line each: RESTART-COUNT PATH... [carries:WORD...].
undo_unit_ask() {
  asking=unit_probe words=-2
  for word in "$@"; do
    case $word in carries:*) asking=unit_load_probe words=$((words + 1)) ;; esac
  done
  printf '%s\n' "$asking"
  # The first two are for people.
  left=2
  [ "$words" -lt 0 ] || printf '%s\n' "$words"
  for word in "$@"; do
    case $word in
      carries:*)
        [ "$left" -gt 0 ] || printf '%s\n' "${word#carries:}"
        left=$((left - 1))
        ;;
    esac
  done
  printf '%s\n' "$unit"
  for word in "$@"; do
    case $word in carries:*) ;; *) printf '%s\n' "$word" ;; esac
  done
}

# Prints a part of a unit's entry, before as it was observed: what|now|ask UNIT UNIT-FILE-STATE ACTIVE-STATE RESTART-COUNT PATH...
# [carries:NAME carries:WHAT carries:WORD...], what stops with it and the command that counts it.
undo_unit() {
  part=$1 unit=$2 enabled=$3 active=$4
  shift 4
  case $part in
    ask) undo_unit_ask "$@" ;;
    what)
      undo_was_there=yes
      undo_line kind unit
      undo_line at "$unit"
      undo_line enabled "$enabled"
      undo_line active "$active"
      ;;
    now)
      undo_line role "$undo_role"
      count=$1
      shift
      for path in "$@"; do
        case $path in
          carries:*) undo_line carries "${path#carries:}" ;;
          *) if [ "$count" -gt 0 ]; then undo_line restart "$path"; else undo_line reload "$path"; fi ;;
        esac
        count=$((count - 1))
      done
      ;;
  esac
}

# Prints a part of a command's entry: what|now|ask NAME WORD..., the words of the command that takes back what it did.
undo_exec() {
  part=$1 name=$2
  shift 2
  case $part in
    what)
      undo_was_there=yes
      undo_line kind 'exec'
      undo_line at "$name"
      ;;
    now)
      undo_line role "$undo_role"
      for word in "$@"; do undo_line word "$word"; done
      ;;
  esac
}

# Prints a part of the entry of what stays when its role is removed: what|now|ask NAME.
undo_left() {
  case $1 in
    what)
      undo_line kind left
      undo_line at "$2"
      ;;
    now) undo_line role "$undo_role" ;;
  esac
}

# Probe: KEY...: what the ledger holds besides the entries that end so, and how that is now; each under its own id.
undo_probe() {
  for entry in "$state_dir/undo"/*; do
    case " $* " in *" ${entry##*-} "*) continue ;; esac
    if [ -d "$entry" ] && undo_is_whole "$entry"; then probe "undo+${entry##*/}" undo_seen "$entry"; fi
  done
}

# Probe: a thing of the ledger.
undo_seen() {
  sed "s/^/$nonce seen $probe /" "$1/what" "$1/now"
  [ ! -e "$1/shown" ] || say_file original "$1/shown"
  entry=$1
  shift
  while IFS= read -r word; do set -- "$@" "$word"; done <"$entry/ask"
  case ${1:-} in file_probe | directory_probe | unit_probe | unit_load_probe) "$@" ;; esac
}

# Step: forgets a thing of the ledger.
undo_forget() {
  rm -rf "$state_dir"/undo/.*.gone
  # What a killed run did not get to is private too.
  for entry in "$state_dir/undo"/*; do undo_is_whole "$entry" || rm -rf "$entry"; done
  [ ! -d "$state_dir/undo/$1" ] || mv "$state_dir/undo/$1" "$state_dir/undo/.$1.gone"
  rm -rf "$state_dir"/undo/.*.gone
}

# Step: puts a file back: ENTRY PATH SEEN MODE OWNER GROUP DIGEST.
file_back() {
  stage "$2"
  cat "$state_dir/undo/$1/body" >"$staged"
  [ "$(digest "$staged")" = "$7" ] || fail "what is kept of $2 in $state_dir/undo/$1/body is damaged, or the disk is full"
  chown "$5:$6" "$staged"
  chmod "$4" "$staged"
  unchanged "$2" "$3"
  keep_old "$2"
  into_place "$staged" "$2"
  merged_forget "$2"
  undo_forget "$1"
}

# Step: puts a symbolic link back: ENTRY PATH SEEN TARGET OWNER GROUP.
link_back() {
  stage "$2"
  ln -s "$4" "$staged"
  chown -h "$5:$6" "$staged"
  unchanged "$2" "$3"
  keep_old "$2"
  mv -f "$staged" "$2"
  undo_forget "$1"
}

# Step: removes a file that was not there before: ENTRY PATH SEEN.
file_gone() {
  unchanged "$2" "$3"
  keep_old "$2"
  rm -f "$2"
  merged_forget "$2"
  undo_forget "$1"
}

# Step: leaves a file that somebody changed: ENTRY COPY, a name for what it was before, of which it keeps a copy.
file_left() {
  if [ -e "$state_dir/undo/$1/body" ]; then
    (umask 077 && mkdir -p "$state_dir/left")
    (umask 077 && cat "$state_dir/undo/$1/body" >"$state_dir/left/.$2.new")
    into_place "$state_dir/left/.$2.new" "$state_dir/left/$2"
  fi
  undo_forget "$1"
}

# Step: removes folders that a role made, as far as nothing is in them, the deepest first: ENTRY PATH...
directory_gone() {
  entry=$1
  shift
  for folder in "$@"; do
    [ ! -d "$folder" ] || rmdir "$folder" || break
  done
  undo_forget "$entry"
}

# Step: removes a version of a product, and the folders above it that were made for it, as far as nothing is in them, the deepest
# first: ENTRY FOLDER MADE...
release_gone() {
  entry=$1
  rm -rf "$2"
  shift 2
  undo_forget "$entry"
  for folder in "$@"; do
    if [ ! -d "$folder" ] || rmdir "$folder" 2>/dev/null; then continue; fi
    # Another release is in it: the last one takes it along.
    for other in "$state_dir"/undo/release-*/what; do
      [ ! -e "$other" ] || undo_line made "$folder" >>"$other"
      break
    done
  done
}

# Step: removes what this program keeps on a host, apart from copies of what was others' and did not get its place again.
state_gone() {
  for path in "$state_dir"/* "$state_dir"/.[!.]*; do
    [ "$path" = "$state_dir/left" ] || rm -rf "$path"
  done
  rmdir "$state_dir/left" "$state_dir" 2>/dev/null || :
}

# Step: removes an account that was made here, once the home is gone that it had, and it runs nothing: ENTRY user|group NAME.
account_gone() {
  if [ "$2" = user ]; then
    account_find passwd "$3"
    home=${account%:*}
    home=${home##*:}
    # Without a home of its own, what it owns may be anywhere.
    case $home in '' | /nonexistent) home=/ ;; esac
    if [ ! -d "$home" ]; then
      if command -v userdel >/dev/null; then userdel "$3" || :; else deluser "$3" || :; fi
    fi
  elif account_find group "$3" && [ -n "$account" ]; then
    if command -v groupdel >/dev/null; then groupdel "$3" || :; else delgroup "$3" || :; fi
  fi
  undo_forget "$1"
}

# Step: gives a folder its mode and owner back: ENTRY PATH MODE OWNER GROUP.
directory_back() {
  chown "$4:$5" "$2"
  chmod "$3" "$2"
  undo_forget "$1"
}

# Step: makes a unit what it was before: ENTRY UNIT ENABLED STATE RESTART-COUNT PATH...
unit_back() {
  entry=$1
  shift
  unit_converge "$@"
  rm -f "$state_dir/units/$1"
  undo_forget "$entry"
}

# Step: lets systemd read its unit files again.
units_reload() {
  if systemd_runs; then unit_order daemon-reload; fi
}

# ---- batches ----

# What the files and links of a batch held before it changed them, until it has proved itself. Each has a folder with its
# `path`, and `before`, which is missing where nothing was there. A folder counts from the rename on that gives it its name.
kept=''

# Has this script keep from here on what it changes: now|last-well; `last-well` leaves what an earlier batch kept, which
# never proved itself.
keep_begin() {
  kept=$state_dir/kept
  [ "$1" = last-well ] || rm -rf "$kept"
  mkdir -p "$kept" 2>"$work/trouble" && return
  refuse "what stands here cannot be kept: $(cat "$work/trouble")"
  return 1
}

# Sets $name, under which something of a path is kept: PATH.
path_name() {
  name=$(printf %s "$1" | sha256sum)
  name=${name%% *}
}

# Keeps what stands at a path, unless that is kept already.
keep_old() {
  [ -n "$kept" ] || return 0
  (
    umask 077
    path_name "$1"
    [ ! -e "$kept/$name" ] || exit 0
    rm -rf "$kept/.$name"
    mkdir "$kept/.$name"
    printf %s "$1" >"$kept/.$name/path"
    if [ -e "$1" ] || [ -L "$1" ]; then cp -p -P "$1" "$kept/.$name/before"; fi
    flush "$kept/.$name/path"
    [ ! -f "$kept/.$name/before" ] || flush "$kept/.$name/before"
    mv "$kept/.$name" "$kept/$name"
  )
}

# Step: gives all that is kept its place again, and has each unit that was started or reloaded since run with it. A unit that is new
# with what is put back ends.
keep_back() {
  touched='' reload='' new=' '
  for entry in "$state_dir/kept"/*; do
    [ -d "$entry" ] || continue
    path=$(cat "$entry/path")
    if [ -L "$entry/before" ]; then
      link_place "$path" "$(readlink "$entry/before")"
    elif [ -e "$entry/before" ]; then
      stage "$path"
      cp -p "$entry/before" "$staged"
      into_place "$staged" "$path"
      rm -rf "$staging"
    else
      case $path in
        */systemd/system/*/*) ;;
        */systemd/system/*)
          # Its file says what is to be done at its end. One that cannot be stopped is told by the next run.
          new="$new${path##*/} "
          unit_stop "${path##*/}" || :
          ;;
      esac
      rm -f "$path"
    fi
    case $path in
      "$state_dir"/units/*) touched="$touched ${path##*/}" ;;
      *)
        case $path in */systemd/system/*) reload=yes ;; esac
        printf '%s is as it was\n' "$path"
        ;;
    esac
  done
  [ -z "$reload" ] || units_reload
  restarted=''
  for unit in $touched; do
    case $new in *" $unit "*) continue ;; esac
    restarted="$restarted $unit"
    unit_order reset-failed -- "$unit" 2>/dev/null || true
    unit_order --no-block restart -- "$unit"
  done
  keep_end
  for unit in $restarted; do
    unit_watch "$unit"
    printf '%s runs with it\n' "$unit"
  done
}

# Step: forgets what is kept: the batch has proved itself.
keep_end() {
  rm -rf "$state_dir/kept"
}

# ---- what else configures an agent ----

# Probe: what an agent keeps that somebody else has set up as the unit: which of the traces its processes have open, and which
# are in the folders, each with the folder: UNIT TRACES FOLDER... Traces are parted by blanks; a folder may have a `*`. Of a unit
# that this program has started nothing is asked.
served_probe() {
  if [ -e "$state_dir/units/$1" ] && [ -e "$state_dir/cluster" ]; then return 0; fi
  unit=$1 traces=$2 own=''
  shift 2
  if systemd_runs; then
    unit_state "$unit" ActiveState UnitFileState FragmentPath ExecStart Environment
    for name in ActiveState UnitFileState FragmentPath; do
      property_value "$name"
      say "$name" "$value"
    done
    for name in ExecStart Environment; do
      served_folder "$name"
      set -- "$@" ${folder:+"$folder"}
    done
    ports_own "$unit"
  fi
  for trace in $traces; do
    case $own in *"/$trace"*) served_open "$trace" ;; esac
    for folder in "$@"; do
      IFS=''
      # shellcheck disable=SC2086 # a `*` is one
      for place in $folder/$trace; do
        unset IFS
        [ ! -e "$place" ] || say kept "$trace $(stat -c %Y "$place") ${place%"/$trace"}"
      done
      unset IFS
    done
  done
}

# Sets $folder to the folder of data that a property of a unit names, as an option or a variable of its agent: PROPERTY.
served_folder() {
  property_value "$1"
  folder=''
  case $value in
    *[Dd][Aa][Tt][Aa][-_][Dd][Ii][Rr][=\ ]/*)
      folder=${value#*[Dd][Aa][Tt][Aa][-_][Dd][Ii][Rr][=\ ]}
      folder=${folder%%[\ \;\"]*}
      ;;
  esac
}

# Says a trace that processes have open, each folder once, by what $own lists: TRACE.
served_open() {
  last=''
  IFS=$nl
  set -f
  for line in $own; do
    case $line in
      *" -> /"*"/$1" | *" -> /"*"/$1/"*) line=${line#* -> } ;;
      *) continue ;;
    esac
    line=${line%%"/$1"*}
    [ "$line" != "$last" ] || continue
    last=$line
    unset IFS
    say open "$1 $(stat -c %Y "$line/$1") $line"
  done
  set +f
  unset IFS
}

# Probe: what configures an agent and is none of the files that are named: the HCL and JSON files of FOLDER, each with what is in it
# and the package that it is of: FOLDER FILE...
config_probe() {
  folder=$1
  shift
  for path in "$folder"/*.hcl "$folder"/*.json; do say_strange "$path" "$@"; done
}

# Says a file that is none of the others: PATH FILE...
say_strange() {
  strange=$1
  shift
  [ -f "$strange" ] || return 0
  for own in "$@"; do [ "$own" != "$strange" ] || return 0; done
  say file "$strange"
  say file-body "$(head -c 65536 <"$strange")"
  package_of "$strange"
  say file-package "$package"
}

# Sets $package to the package that a file is of, or to nothing.
package_of() {
  package=''
  if command -v dpkg-query >/dev/null; then
    package=$(dpkg-query -S "$1" 2>/dev/null) || package=''
    package=${package%%:*}
  elif command -v rpm >/dev/null; then
    package=$(rpm -qf --qf '%{NAME}' "$1" 2>/dev/null) || package=''
  fi
}

# Probe: lines of files that match an extended expression, with the packages of those files, and which of them are as packaged:
# PATTERN PLACE... A place is a file, where a `*` is any name; `+FILE`, of which it is said that it is there; `@UNIT`, all files of
# a unit and the files of variables that they name; `!UNIT`, its drop-ins alone; `?FILE`, one of variables, where the unit before it
# is not there. After `~UNIT` nothing is asked where this program has started that unit. Of a file that begins as this program writes
# it, and of a unit's own, nobody is asked whose it is: dpkg reads all its lists for that.
others_probe() {
  pattern=$1 left=$(($# - 1)) main=''
  shift
  while [ "$left" -gt 0 ]; do
    place=$1 left=$((left - 1)) files=''
    shift
    case $place in
      '~'*) [ ! -e "$state_dir/units/${place#?}" ] || return 0 ;;
      @*) unit_files "${place#@}" variables ;;
      !*)
        unit_files "${place#!}"
        files=${files#"$main$nl"}
        ;;
      \?*) [ -n "$main" ] || [ ! -f "${place#\?}" ] || files=${place#\?} ;;
      *)
        IFS=''
        # shellcheck disable=SC2086 # a `*` is one
        for path in ${place#+}; do
          [ ! -e "$path" ] || files=$files$path$nl
        done
        unset IFS
        # That it is there is enough.
        if [ "$place" != "${place#+}" ]; then
          others_there_all
          files=''
        fi
        ;;
    esac
    IFS=$nl
    set -f
    # shellcheck disable=SC2086 # a line each
    set -- "$@" $files
    set +f
    unset IFS
  done
  [ "$#" -gt 0 ] || return 0
  found=$(grep -HnsE -e "$pattern" -- "$@") || :
  [ -n "$found" ] || return 0
  say lines "$found"
  last=''
  set -f
  IFS=$nl
  for line in $found; do
    unset IFS
    path=${line%%:*}
    [ "$path" != "$last" ] || continue
    last=$path
    case $path:${line#*:*:} in
      "$main":* | *:'# Written by bootstrap'*) ;;
      *) others_packaged "$path" ;;
    esac
  done
  set +f
  unset IFS
}

# Says of each of $files that it is there, and whose it is.
others_there_all() {
  set -f
  IFS=$nl
  for path in $files; do
    unset IFS
    say there "$path"
    others_packaged "$path"
  done
  set +f
  unset IFS
}

# Says the package of a file, and whether it is as that has it. What a package enables is a link to a file of its own.
others_packaged() {
  real=$(readlink -f "$1" 2>/dev/null) || real=$1
  package_of "$real"
  [ -n "$package" ] || return 0
  say package "$package $1"
  if as_packaged "$real"; then say untouched "$1"; fi
}

# Sets $main to the file that a unit has, if it is there, and $files to all of it, a line each: $main, its drop-ins, and, with
# `variables`, the files of variables that these name: UNIT [variables].
unit_files() {
  main='' files=''
  for folder in /etc/systemd/system /run/systemd/system /lib/systemd/system; do
    if [ -z "$main" ] && [ -f "$folder/$1" ]; then main=$folder/$1; fi
  done
  for folder in /etc/systemd/system /run/systemd/system /lib/systemd/system; do
    for path in "$folder/$1".d/*.conf; do
      [ ! -f "$path" ] || files=$files$path$nl
    done
  done
  files=${main:+"$main$nl"}$files
  [ -n "${2:-}" ] || return 0
  IFS=$nl
  set -f
  for path in $files; do
    while read -r line || [ -n "$line" ]; do
      case $line in
        EnvironmentFile=*[%*]*) ;;
        EnvironmentFile=*/*) [ ! -f "/${line#*/}" ] || files=$files/${line#*/}$nl ;;
      esac
    done <"$path"
  done
  set +f
  unset IFS
}

# ---- packages ----

# Probe: which of these packages are installed.
package_probe() {
  package_manager
  say manager "$manager"
  if [ "$manager" = apt ]; then
    for name in "$@"; do
      case $asked_packages in *" $name "*) continue ;; esac
      packages_listed "$@"
      break
    done
  fi
  for name in "$@"; do
    if package_installed "$name"; then say installed "$name"; else say missing "$name"; fi
  done
}

# Sets $packages to what dpkg knows of them, one question for all: it reads its whole database for each. NAME...
packages_listed() {
  packages=$nl$(dpkg-query -W -f '${Package} ${db:Status-Status}\n' "$@" 2>/dev/null)$nl
  asked_packages=" $* "
}

# Probe: PROGRAM NAME...: where the program is; if nowhere, which of the packages are installed.
package_program_probe() {
  found=$(command -v "$1") || found=absent
  say program "$found"
  shift
  [ "$found" != absent ] || package_probe "$@"
}

# Whether one package is installed, by $manager and what dpkg said of $packages.
package_installed() {
  case $manager in
    apt) case $packages in *"$nl$1 installed$nl"*) return 0 ;; *) return 1 ;; esac ;;
    dnf) rpm -q --whatprovides "$1" >/dev/null 2>&1 ;;
    apk) apk info -e "$1" >/dev/null 2>&1 ;;
    *) return 1 ;;
  esac
}

# Step: installs packages; the lists are fetched when there are none, or when they turn out too old.
package_install() {
  umask 022
  package_manager
  if packages_are_there "$@"; then return 0; fi
  case $manager in
    apt)
      # Nobody is asked, and nothing that runs is started anew for a library: needrestart would take all agents of a host at once.
      export DEBIAN_FRONTEND=noninteractive NEEDRESTART_SUSPEND=1 NEEDRESTART_MODE=l
      dpkg_go_on
      apt_listed || apt_update
      apt_install "$@" || { apt_update && apt_install "$@"; }
      ;;
    dnf) dnf -q -y install "$@" ;;
    apk) apk add --no-progress "$@" ;;
    *) fail "no package manager found: apt-get, dnf or apk" ;;
  esac
}

# Whether all of these packages are installed, as after another step of this run: NAME...
packages_are_there() {
  [ "$manager" != apt ] || packages_listed "$@"
  for name in "$@"; do package_installed "$name" || return 1; done
}

# Step: COUNT KNOWN... NAME...: installs packages, and those of the first COUNT that the distribution has.
package_install_known() {
  left=$1
  shift
  package_manager
  if [ "$manager" = apt ] && ! apt_listed; then apt_update; fi
  for name in "$@"; do
    shift
    if [ "$left" -le 0 ] || package_known "$name"; then set -- "$@" "$name"; fi
    left=$((left - 1))
  done
  package_install "$@"
}

# Whether the distribution has a package, by $manager.
package_known() {
  case $manager in
    # A name that others only speak of is known, and has nothing to show.
    apt) apt-cache show --no-all-versions "$1" 2>/dev/null | grep -q . ;;
    dnf) dnf -q list "$1" >/dev/null 2>&1 ;;
    apk) apk search -q -x "$1" 2>/dev/null | grep -q . ;;
    *) return 1 ;;
  esac
}

# Whether apt has package lists; a fresh image comes without.
apt_listed() {
  for list in /var/lib/apt/lists/*_Packages*; do
    [ ! -e "$list" ] || return 0
  done
  return 1
}

# How long another apt, or an unattended upgrade, is waited for, in seconds.
apt_patience=300

# Fetches the lists of packages. Where one source of several is broken, the others may still do. While somebody else fetches them, as
# after a first boot, it waits: apt itself does so for dpkg alone.
apt_update() {
  apt_left=$apt_patience
  while :; do
    apt_said=$(LC_ALL=C apt-get -q update 2>&1) && break
    case $apt_said in *'Could not get lock'* | *'Unable to lock'*) ;; *) break ;; esac
    [ "$apt_left" -gt 0 ] || break
    [ "$apt_left" -lt "$apt_patience" ] || echo "another apt fetches the lists of packages: waiting for it, ${apt_patience}s at most"
    apt_left=$((apt_left - 1))
    sleep 1
  done
  printf '%s\n' "$apt_said"
}

# Ends what a power cut has left half-done: until then dpkg refuses everything.
dpkg_go_on() {
  for update in /var/lib/dpkg/updates/[0-9]*; do
    [ -e "$update" ] || continue
    echo 'dpkg was interrupted: it goes on where it was'
    dpkg --force-confdef --force-confold --configure -a
    return
  done
}

# Installs by apt; waits for another apt or an unattended upgrade, and keeps changed configuration files. What would cost the host
# another package is no installation.
apt_install() {
  apt_failed=0
  apt_said=$(
    LC_ALL=C apt-get -q -y --no-remove -o DPkg::Lock::Timeout="$apt_patience" -o Dpkg::Options::=--force-confdef \
      -o Dpkg::Options::=--force-confold install --no-install-recommends "$@" 2>&1
  ) || apt_failed=$?
  printf '%s\n' "$apt_said"
  case $apt_said in
    *'Packages need to be removed but remove is disabled'*)
      fail "packages that are there would be removed for it: nothing was installed; remove them yourself, if nothing needs them: apt-get install $*"
      ;;
  esac
  return "$apt_failed"
}

# ---- users ----

# Sets $account to the line of a user (passwd) or group (group), by name or number, or to nothing.
account_find() {
  account=''
  if [ "$1" = passwd ]; then
    account_among "$2" "$users"
  else
    account_among "$2" "$groups"
  fi
  [ -z "$account" ] || return 0
  if command -v getent >/dev/null; then
    account=$(getent "$1" "$2") || account=''
  else
    account=$(awk -F: -v want="$2" '$1 == want || $3 == want { print; exit }' "/etc/$1")
  fi
}

# Sets $account to the line of a name or number among others: NAME LINES.
account_among() {
  IFS=$nl
  set -f
  for line in $2; do
    number=${line#*:*:}
    if [ "${line%%:*}" = "$1" ] || [ "${number%%:*}" = "$1" ]; then account=$line; fi
  done
  set +f
  unset IFS
}

# Probe: USER GROUP UID GID; says the user's and group's lines, and who has the two numbers (each may be empty).
user_probe() {
  account_find passwd "$1"
  say user "$account"
  if [ -n "$account" ]; then
    rest=${account#*:*:*:}
    account_find group "${rest%%:*}"
    say primary-group "${account%%:*}"
  fi
  account_find group "$2"
  say group "$account"
  if [ -n "$3" ]; then
    account_find passwd "$3"
    say uid-owner "$account"
  fi
  if [ -n "$4" ]; then
    account_find group "$4"
    say gid-owner "$account"
  fi
}

# Step: makes a group: GROUP GID SYSTEM(true|false); GID may be empty.
group_add() {
  # A package of the same plan may have made it since the host was observed.
  account_find group "$1"
  if [ -n "$account" ]; then
    numbered "group $1" "$2" "$account"
    return 0
  fi
  undo_record undo_account group "$1"
  if command -v groupadd >/dev/null; then
    if [ "$3" = true ]; then set -- "$1" "$2" --system; else set -- "$1" "$2"; fi
    name=$1 gid=$2
    shift 2
    groupadd "$@" ${gid:+--gid "$gid"} "$name"
  else
    if [ "$3" = true ]; then system=-S; else system=''; fi
    addgroup ${system:+"$system"} ${2:+-g "$2"} "$1"
  fi
}

# Fails when an account that is there already has another number than the wanted one, if one is wanted.
numbered() {
  rest=${3#*:*:}
  [ -z "$2" ] || [ "${rest%%:*}" = "$2" ] || fail "$1 has the number ${rest%%:*}, not $2"
}

# Step: makes a user: USER UID GROUP SYSTEM HOME SHELL CREATE-HOME; UID, HOME and SHELL may be empty.
user_add() {
  umask 022
  name=$1 uid=$2 group=$3 system=$4 home=$5 shell=$6 create_home=$7
  # As above: a package may have been quicker.
  account_find passwd "$name"
  if [ -n "$account" ]; then
    numbered "user $name" "$uid" "$account"
    user_change "$name" "$group" "$home" "$shell"
    return 0
  fi
  undo_record undo_account user "$name"
  if [ -z "$shell" ] && [ "$system" = true ]; then shell=$(no_login_shell); fi
  if [ -z "$home" ] && [ "$system" = true ]; then home=/nonexistent; fi
  set --
  if command -v useradd >/dev/null; then
    [ "$system" = false ] || set -- "$@" --system
    if [ "$create_home" = true ]; then set -- "$@" --create-home; else set -- "$@" --no-create-home; fi
    useradd "$@" ${uid:+--uid "$uid"} ${home:+--home-dir "$home"} ${shell:+--shell "$shell"} --gid "$group" "$name"
  else
    [ "$system" = false ] || set -- "$@" -S
    [ "$create_home" = true ] || set -- "$@" -H
    adduser -D "$@" ${uid:+-u "$uid"} ${home:+-h "$home"} ${shell:+-s "$shell"} -G "$group" "$name"
  fi
}

# Step: changes a user: USER GROUP HOME SHELL; empty means leave it.
user_change() {
  usermod ${2:+--gid "$2"} ${3:+--home "$3"} ${4:+--shell "$4"} "$1"
}

# Prints the shell of accounts that nobody logs in to.
no_login_shell() {
  for shell in /usr/sbin/nologin /sbin/nologin /bin/false; do
    [ ! -x "$shell" ] || break
  done
  printf %s "$shell"
}

# ---- releases ----

# Probe: DIRECTORY BIN-DIR BINARY...: the digest of the archive it came from, its programs, and the links to them.
release_probe() {
  directory=$1 bin_dir=$2
  shift 2
  if [ -d "$directory" ]; then say directory present; else say directory absent; fi
  say_line archive "$directory/.sha256"
  for binary in "$@"; do
    [ ! -x "$directory/$binary" ] || say binary "$binary"
  done
  links_seen "$bin_dir" "$@"
}

# Probe: PACKAGE BIN-DIR BINARY...: a product that the distribution brings, and the links to its programs.
release_package_probe() {
  package_probe "$1"
  shift
  links_seen "$@"
}

# Says for each program what its name in the folder is.
links_seen() {
  bin_dir=$1
  shift
  for binary in "$@"; do
    if [ -L "$bin_dir/$binary" ]; then
      link_target "$bin_dir/$binary"
      say link "$binary $target"
    elif [ -e "$bin_dir/$binary" ]; then
      say other "$binary"
    fi
  done
}

# Step: URL-FOLDER ARCHIVE SUMS DIGEST DIRECTORY BINARY...: downloads, checks and unpacks a release. An empty digest is
# looked up in the sums file of the site.
release_from_site() {
  umask 022
  site=$1 archive=$2 sums=$3 wanted=$4 directory=$5
  shift 5
  undo_record undo_release "$directory"
  mkdir -p "${directory%/*}"
  if [ -z "$wanted" ]; then
    trap 'rm -f "$directory.sums.partial"' EXIT
    wanted=$(release_sum "$site" "$archive" "$sums" "$directory.sums.partial")
  fi
  partial=$directory.archive.partial
  download_checked "$site/$archive" "$partial" "$wanted" "$sums"
  release_unpack "$partial" "$wanted" "$directory" "$@"
  rm -f "$partial"
}

# Prints the digest that a release's sums file gives its archive: SITE ARCHIVE SUMS FILE. Nobody has signed for it. One that
# holds nothing but a digest is for that archive alone.
release_sum() {
  rm -f "$4"
  download "$1/$3" "$4"
  while read -r sum name || [ -n "$sum" ]; do
    if [ "${name#\*}" = "$2" ] || { [ -z "$name" ] && [ "${#sum}" -eq 64 ]; }; then
      printf %s "$sum"
      return 0
    fi
  done <"$4"
  fail "$1/$3 lists no $2: this version was not released for this architecture"
}

# Step: DIGEST DIRECTORY BINARY...: unpacks a file that was pushed to this host.
release_from_push() {
  umask 022
  wanted=$1 directory=$2
  shift 2
  pushed_file "$wanted"
  undo_record undo_release "$directory"
  mkdir -p "${directory%/*}"
  release_unpack "$pushed" "$wanted" "$directory" "$@"
  rm -f "$pushed"
}

# Puts a checked archive (or bare program) into its folder, by rename: FILE DIGEST DIRECTORY BINARY...
release_unpack() {
  file=$1 sum=$2 directory=$3 fresh=$3.partial
  shift 3
  gone "$fresh" "$fresh.bare"
  # A disk that is full does not stay full of this.
  trap 'gone "$fresh" "$fresh.bare" "$directory.sums.partial"' EXIT
  mkdir "$fresh"
  # shellcheck disable=SC2046 # the four bytes are words
  join $(od -An -tx1 -N4 "$file")
  case $joined in
    504b0304) unzip_into "$file" "$fresh" ;;
    1f8b*) tar -xzf "$file" -C "$fresh" ;;
    7f454c46 | 2321*)
      [ "$#" -eq 1 ] || fail "the release is one bare program, but $# are wanted: $*"
      # A large program need not be copied where that can be had.
      ln "$file" "$fresh/$1" 2>/dev/null || cp "$file" "$fresh/$1"
      ;;
    *) fail "the release is neither a zip or tar.gz archive nor a program" ;;
  esac
  release_bare "$fresh"
  for binary in "$@"; do
    [ -f "$fresh/$binary" ] || fail "the release holds no $binary"
    chmod 755 "$fresh/$binary"
  done
  printf '%s\n' "$sum" >"$fresh/.sha256"
  # Nobody reads the programs again to see whether they are whole.
  find "$fresh" -type f -exec sync -- {} + 2>/dev/null || sync
  gone "$directory.old.partial"
  if [ -d "$directory" ]; then mv "$directory" "$directory.old.partial"; fi
  mv "$fresh" "$directory"
  gone "$directory.old.partial"
}

# Removes what there is of some paths: PATH...
gone() {
  for old in "$@"; do
    shift
    if [ -e "$old" ] || [ -L "$old" ]; then set -- "$@" "$old"; fi
  done
  [ "$#" -eq 0 ] || rm -rf -- "$@"
}

# FOLDER: where an archive had nothing but one folder, what is in that is what it has.
release_bare() {
  only=''
  for path in "$1"/* "$1"/.[!.]* "$1"/..?*; do
    [ -e "$path" ] || [ -L "$path" ] || continue
    [ -z "$only" ] || return 0
    only=$path
  done
  [ -d "$only" ] && [ ! -L "$only" ] || return 0
  mv "$only" "$1.bare"
  rmdir "$1"
  mv "$1.bare" "$1"
}

# Unpacks a zip archive with what the host has.
unzip_into() {
  if command -v unzip >/dev/null; then
    unzip -q -o "$1" -d "$2"
  elif command -v busybox >/dev/null && busybox --list | grep -qx unzip; then
    busybox unzip -q -o "$1" -d "$2"
  elif command -v python3 >/dev/null; then
    python3 -m zipfile -e "$1" "$2"
  else
    fail "cannot unpack a zip archive: install unzip, busybox or python3"
  fi
}

# ---- files and images from elsewhere ----

# Step: PATH MODE OWNER GROUP SEEN DIGEST URL: writes a file that is at a site.
file_from_site() {
  mkdir -p "$state_dir/incoming"
  download_checked "$7" "$state_dir/incoming/$6" "$6" 'the inventory'
  file_from_push "$1" "$2" "$3" "$4" "$5" "$6"
}

# Step: PATH MODE OWNER GROUP SEEN DIGEST: writes a file that was pushed to this host.
file_from_push() {
  pushed_file "$6"
  [ ! -L "$1" ] || fail "$1 is a symbolic link"
  stage "$1"
  cp "$pushed" "$staged"
  put_staged "$@"
  rm -f "$pushed"
}

# Probe: NAMESPACE: the images that containerd has, if it runs.
images_probe() {
  if images=$(ctr --namespace "$1" images list --quiet 2>/dev/null); then
    say runtime up
    for image in $images; do say image "$image"; done
  else
    say runtime down
  fi
}

# Step: NAMESPACE DIGEST URL: imports images whose archive is at a site, or on this host. Without a digest the archive is
# believed.
image_from_site() {
  case $3 in
    file://*)
      archive=${3#file://}
      [ -z "$2" ] || [ "$(digest "$archive")" = "$2" ] || fail "wrong checksum: $archive is not what the inventory says"
      image_import "$1" "$archive"
      return 0
      ;;
  esac
  mkdir -p "$state_dir/incoming"
  if [ -n "$2" ]; then
    archive=$state_dir/incoming/$2
    download_checked "$3" "$archive" "$2" 'the inventory'
  else
    # Nothing says what an older part was of.
    archive=$state_dir/incoming/image
    rm -f "$archive"
    download "$3" "$archive"
  fi
  image_import "$1" "$archive"
  rm -f "$archive"
}

# Step: NAMESPACE DIGEST: imports images whose archive was pushed to this host.
image_from_push() {
  pushed_file "$2"
  image_import "$1" "$pushed"
  rm -f "$pushed"
}

# NAMESPACE ARCHIVE
image_import() {
  ctr --namespace "$1" images import "$2" >/dev/null
}

# Step: NAMESPACE IMAGE...: fails unless containerd has them all.
images_are_there() {
  namespace=$1
  shift
  images=$(ctr --namespace "$namespace" images list --quiet)
  for image in "$@"; do
    case "$nl$images$nl" in
      *"$nl$image$nl"*) ;;
      *) fail "the archive of $image holds no such image" ;;
    esac
  done
}

# Step: DIGEST COMMAND...: has a command take in a file that was pushed to this host; its last words are the digest and the file.
import_from_push() {
  pushed_file "$1"
  shift
  exec_run "$@" "$found" "$pushed"
  rm -f "$pushed"
}

# Sets $pushed to the file of this digest that was pushed to this host, checked.
pushed_file() {
  pushed=$state_dir/incoming/$1
  [ -f "$pushed" ] || fail "$pushed is missing: the file was not pushed to this host"
  found=$(digest "$pushed")
  [ "$found" = "$1" ] || fail "wrong checksum: $pushed has sha256 $found; nothing was installed"
}

# Downloads URL to FILE, which is what it should be or is gone: URL FILE DIGEST WHO-SAYS
download_checked() {
  resumed=no
  [ ! -s "$2" ] || resumed=yes
  download "$1" "$2"
  found=$(digest "$2")
  if [ "$found" != "$3" ] && [ "$resumed" = yes ]; then
    rm -f "$2"
    download "$1" "$2"
    found=$(digest "$2")
  fi
  [ "$found" = "$3" ] || {
    rm -f "$2"
    fail "wrong checksum: $1 has sha256 $found, but $4 says $3; nothing was installed"
  }
}

# Downloads URL to FILE and goes on where an earlier try stopped; what came of a broken transfer stays for the next.
download() {
  outcome=2
  if [ -s "$2" ]; then
    outcome=0
    fetch "$1" "$2" resume || outcome=$?
    # The server sends no ranges, or has no such range: start over.
    [ "$outcome" -ne 2 ] || rm -f "$2"
  fi
  if [ "$outcome" -eq 2 ]; then
    outcome=0
    fetch "$1" "$2" fresh || outcome=$?
  fi
  [ "$outcome" -eq 0 ] || {
    # A part that has filled the disk is in the way of everything else there.
    disk_has_room "${2%/*}" || {
      rm -f "$2"
      fail "cannot download $1: No space left on device below ${2%/*}"
    }
    fail "cannot download $1$(by_proxy "$1")"
  }
}

# Whether another megabyte fits on a folder's file system.
disk_has_room() {
  # shellcheck disable=SC2046 # the words are wanted
  set -- $(df -Pk "$1" | tail -n 1)
  [ "${4:-1024}" -ge 1024 ]
}

# The host's own settings for whoever leaves it, where this session has none: sudo takes them away. Downloads obey these alone, and no
# file of root's own for curl or wget.
proxy_settings() {
  # Mostly it has none.
  found=no
  while read -r line || [ -n "$line" ]; do
    case $line in *[Pp][Rr][Oo][Xx][Yy]*) found=yes ;; esac
  done 2>/dev/null </etc/environment
  [ "$found" = yes ] || return 0
  [ -n "${http_proxy:-}" ] || http_proxy=$(environment_value http_proxy HTTP_PROXY)
  [ -n "${https_proxy:-${HTTPS_PROXY:-}}" ] || https_proxy=$(environment_value https_proxy HTTPS_PROXY)
  [ -n "${no_proxy:-${NO_PROXY:-}}" ] || no_proxy=$(environment_value no_proxy NO_PROXY)
  export http_proxy https_proxy no_proxy
}

# Prints what /etc/environment says of one of two names, the last word of it.
environment_value() {
  sed -n "s/^[[:space:]]*\(export[[:space:]]*\)\{0,1\}\($1\|$2\)=[\"']\{0,1\}\([^\"']*\).*/\3/p" /etc/environment | tail -n 1
}

# Names the proxy that a download of URL obeys, if it does.
by_proxy() {
  case $1 in https://*) proxy=${https_proxy:-${HTTPS_PROXY:-}} ;; *) proxy=${http_proxy:-} ;; esac
  [ -z "$proxy" ] || printf ' by the proxy %s, as this host is set' "$proxy" | sed 's#//[^/@]*@#//#'
}

# Fetches URL FILE resume|fresh by curl or wget: 0 done, 1 failed, 2 the server refused.
fetch() {
  proxy_settings
  # An https address is never left for a plain one, not even by a redirect.
  case $1 in http://*) protocols='=http,https' ;; *) protocols='=https' ;; esac
  code=0
  if command -v curl >/dev/null; then
    # 22: an error status; 33 and 36: no such range.
    [ "$3" = fresh ] && from=0 || from=-
    curl -q --fail --silent --show-error --location --proto "$protocols" --proto-redir "$protocols" \
      --connect-timeout 20 --speed-limit 1 --speed-time 60 -C "$from" -o "$2" "$1" || code=$?
    case $code in 22 | 33 | 36) code=2 ;; esac
  elif command -v wget >/dev/null; then
    if [ "$3" = fresh ]; then set -- "$1" "$2"; else set -- "$1" "$2" -c; fi
    url=$1 file=$2
    shift 2
    if wget --help 2>&1 | grep -q -e --tries; then
      set -- "$@" --no-config -nv --tries=1 --timeout=60
    elif [ "$protocols" = =https ]; then
      fail "cannot download $url: the wget of busybox verifies no certificates; install curl"
    else
      set -- "$@" -q
    fi
    # 8: an error status.
    wget "$@" -O "$file" "$url" || code=$?
    [ "$code" -ne 8 ] || code=2
  else
    fail "cannot download: install curl or wget"
  fi
  case $code in 0 | 2) return "$code" ;; esac
  return 1
}

# Step: lets BIN-DIR/BINARY lead to the program that a package brought.
link_program() {
  for folder in /usr/bin /usr/sbin /bin /sbin; do
    if [ -x "$folder/$2" ]; then
      link_place "$1/$2" "$folder/$2"
      return 0
    fi
  done
  fail "the package brought no program $2"
}

# ---- units ----

# Reads properties of a unit into $state: UNIT PROPERTY...
unit_state() {
  unit=$1
  shift
  if unit_looked_at "$@"; then return 0; fi
  for name in "$@"; do
    set -- "$@" -p "$name"
    shift
  done
  state=$nl$(systemctl show "$@" -- "$unit")$nl
}

# Sets $state to what `prefetch_units` has seen of $unit, if it has all of that: PROPERTY...
unit_looked_at() {
  case $looked_at in *" $unit "*) ;; *) return 1 ;; esac
  number=0
  for name in $looked_at; do
    number=$((number + 1))
    [ "$name" != "$unit" ] || break
  done
  eval "state=\$state_$number"
  for name in "$@"; do
    case $state in *"$nl$name="*) ;; *) return 1 ;; esac
  done
}

# Gives systemd an order: VERB-AND-OPTIONS... The one place where a unit is changed.
unit_order() {
  systemctl "$@"
}

# Step: stops a unit for good. What is stopped on purpose has not failed, whatever its last exit status: Consul's and Nomad's
# is 1 when they are told to end without leaving.
unit_stop() {
  unit_order disable --now "$1" || unit_is_held "$1"
  unit_order reset-failed "$1" 2>/dev/null || :
}

# Fails, and says who keeps a unit from being stopped where it is a mount.
unit_is_held() {
  case $1 in
    *.mount)
      place=$(systemctl show -P Where "$1")
      printf '%s is in use, and stays mounted until nobody uses it any more:\n' "$place"
      mount_users "$place"
      ;;
  esac
  return 1
}

# Prints the processes that have a file or a folder below FOLDER open, a line each.
mount_users() {
  # All links are read by one process.
  # shellcheck disable=SC2012 # numbers and words of the kernel
  ls -l /proc/[0-9]*/cwd /proc/[0-9]*/root /proc/[0-9]*/fd/* 2>/dev/null | {
    known=' '
    while IFS= read -r line; do
      case ${line#* -> } in "$1" | "$1"/*) ;; *) continue ;; esac
      process=${line#*/proc/}
      process=${process%%/*}
      case $known in *" $process "*) continue ;; esac
      known="$known$process "
      read -r program 2>/dev/null <"/proc/$process/comm" || continue
      printf '  %s (process %s)\n' "$program" "$process"
    done
  }
}

# Whether systemd runs here.
systemd_runs() {
  [ -d /run/systemd/system ]
}

# Sets $value, one property out of $state.
property_value() {
  value=''
  case $state in
    *"$nl$1="*)
      rest=${state#*"$nl$1="}
      value=${rest%%"$nl"*}
      ;;
  esac
}

# Sets $values, properties out of $state with a slash between them: PROPERTY...
property_values() {
  values=''
  for property in "$@"; do
    property_value "$property"
    values=$values/$value
  done
  values=${values#/}
}

# Prints one property out of $state.
property() {
  property_value "$1"
  printf %s "$value"
}

# Sets $mark to what the first COUNT paths hold, one part for each, in one word: COUNT PATH...
# Of a link it takes where it leads, and size and time of what is there: a program of 100 MB is not read on each run.
# Of `json:KEY,KEY:PATH` it takes all but these keys. Adds to $json_marks what it found out of these.
unit_mark() {
  mark='' left=$1
  shift
  for path in "$@"; do
    [ "$left" -gt 0 ] || break
    left=$((left - 1))
    if [ "$path" != "${path#json:}" ]; then
      path=${path#json:}
      json_mark "${path%%:*}" "${path#*:}"
    elif [ -L "$path" ]; then
      link_target "$path"
      link_stat "$path"
      part=$target:${link_stat% *}:${link_stat#* }
      # It is a word of a line.
      case $part in *[!A-Za-z0-9_./:-]*) part=$(printf %s "$part" | sha256sum) ;; esac
    elif [ -d "$path" ]; then
      part=$(find "$path" -type f | sort | while IFS= read -r file; do printf 'file %s %s\n' "$file" "$(digest "$file")"; done | sha256sum)
    else
      digest_value "$path"
      part=$sum
    fi
    mark=$mark${mark:+,}${part%% *}
  done
}

# Sets $part to a digest of a JSON file without some keys: KEYS FILE. Where the file is as it was at the last mark, so is that.
json_mark() {
  digest_value "$2"
  case " $json_saved " in
    *" $1:$sum="*)
      part=${json_saved#*"$1:$sum="}
      part=${part%% *}
      ;;
    *) part=$(json_without "$1" "$2" | sha256sum) ;;
  esac
  part=${part%% *}
  json_marks="$json_marks $1:$sum=$part"
}

# Prints the members of a JSON object, one a line, without those whose keys are listed and without white space, so
# that layout makes no difference: KEY,KEY FILE
json_without() {
  [ -e "$2" ] || return 0
  tr -d '\n\r\t' <"$2" | awk -v keys=",$1," '
    function member() {
      key = part
      sub(/":.*/, "", key)
      if (part != "" && !index(keys, "," substr(key, 2) ",")) print part
      part = ""
    }
    {
      for (i = 1; i <= length($0); i++) {
        c = substr($0, i, 1)
        if (quoted) {
          if (c == "\\") c = c substr($0, ++i, 1)
          else if (c == "\"") quoted = 0
        } else if (c == " ") continue
        else if (c == "\"") quoted = 1
        else if (c == "{" || c == "[") { if (++depth == 1) continue }
        else if (c == "}" || c == "]") { if (--depth == 0) continue }
        else if (c == "," && depth == 1) { member(); continue }
        part = part c
      }
    }
    END { member() }'
}

# Whether a unit started after what makes it restart was last changed: then it runs with what is there, whoever
# started it. UNIT RESTART-COUNT PATH...
unit_is_fresh() {
  started=$(
    export TZ=UTC0
    unit_state "$1" ExecMainStartTimestamp
    property ExecMainStartTimestamp
  )
  # `Sat 2026-11-21 03:42:09 UTC`; a date of busybox knows no days of the week.
  started=${started#* }
  started=$(date -u -d "${started% UTC}" +%s 2>/dev/null) || return 1
  left=$2
  shift 2
  for path in "$@"; do
    [ "$left" -gt 0 ] || break
    left=$((left - 1))
    [ "$path" = "${path#json:}" ] || path=${path#json:*:}
    [ -e "$path" ] || return 1
    for changed in $(find "$path" -exec stat -c %Z {} +) "$(stat -L -c %Z "$path")"; do
      [ "$changed" -lt "$started" ] || return 1
    done
  done
}

# The same for all that it watches.
unit_is_all_fresh() {
  name=$1
  shift 2
  unit_is_fresh "$name" "$#" "$@"
}

# Sets $restart_mark and $reload_mark, what a unit watches, as words that are compared: RESTART-COUNT PATH...
unit_marks() {
  restart_mark=none reload_mark=none json_marks=''
  count=$1
  shift
  unit_sums "$@"
  if [ "$count" -gt 0 ]; then
    unit_mark "$count" "$@"
    restart_mark=$mark
  fi
  shift "$count"
  if [ "$#" -gt 0 ]; then
    unit_mark "$#" "$@"
    reload_mark=$mark
  fi
}

# Sets $sums to the digests of the plain files among what a unit watches, by one process, unless they are known: PATH...
unit_sums() {
  [ -z "$sums" ] || return 0
  for path in "$@"; do
    shift
    [ "$path" = "${path#json:}" ] || path=${path#json:*:}
    if [ ! -L "$path" ] && [ -f "$path" ] && [ -r "$path" ]; then set -- "$@" "$path"; fi
  done
  [ "$#" -eq 0 ] || sums=$(sha256sum -- "$@" 2>/dev/null)
}

# Sets $restart_saved and $reload_saved, the marks of the unit's last start by this program, and $json_saved.
unit_saved() {
  restart_saved=none reload_saved=none json_saved=''
  if [ -r "$state_dir/units/$1" ]; then
    read -r restart_saved reload_saved json_saved <"$state_dir/units/$1" || true
  fi
}

# Saves the marks: UNIT RESTART RELOAD.
unit_save() {
  [ -d "$state_dir/units" ] || mkdir -p "$state_dir/units"
  printf '%s %s%s\n' "$2" "$3" "$json_marks" >"$state_dir/units/.$1.new"
  into_place "$state_dir/units/.$1.new" "$state_dir/units/$1"
}

# Sets $other_file to the file that systemd has a unit from by $state, where that is another than the one that it watches: a new
# file in /etc hides one in /lib only when systemd reads its unit files again. UNIT RESTART-COUNT PATH...
unit_other_file() {
  other_file=''
  property_value FragmentPath
  for watched in "$@"; do
    case $watched in
      /etc/systemd/system/"$1") [ ! -e "$watched" ] || [ "$value" = "$watched" ] || other_file=$value ;;
    esac
  done
}

# Probe: UNIT RESTART-COUNT PATH...: the unit's state, and saved and current fingerprints of what it watches.
unit_probe() {
  if ! systemd_runs; then
    say LoadState no-systemd
    return 0
  fi
  unit_state "$1" LoadState ActiveState SubState UnitFileState NeedDaemonReload FragmentPath
  for name in LoadState ActiveState SubState UnitFileState NeedDaemonReload; do
    property_value "$name"
    say "$name" "$value"
  done
  property_value ActiveState
  case $value in inactive | failed) runs=no ;; *) runs=yes ;; esac
  unit_other_file "$@"
  [ -z "$other_file" ] || say other-file "$other_file"
  unit_saved "$1"
  unit=$1
  shift
  unit_marks "$@"
  if [ "$runs" = yes ]; then
    if [ "$restart_mark" != "$restart_saved" ] && unit_is_fresh "$unit" "$@"; then say fresh restart; fi
    if [ "$reload_mark" != "$reload_saved" ] && unit_is_all_fresh "$unit" "$@"; then say fresh reload; fi
  fi
  say restart-saved "$restart_saved"
  say restart-mark "$restart_mark"
  say reload-saved "$reload_saved"
  say reload-mark "$reload_mark"
}

# Probe: the same, and the number that a command prints, of those who stop when the unit does: WORDS COMMAND... UNIT
# RESTART-COUNT PATH...
unit_load_probe() {
  words=$1
  shift
  load=$(unit_load "$words" "$@") || load=''
  shift "$words"
  unit_probe "$@"
  say load "$load"
}

# Runs its first WORDS arguments after the number itself.
unit_load() {
  words=$1 all=$#
  shift
  for word in "$@"; do
    [ "$words" -gt 0 ] || break
    words=$((words - 1))
    set -- "$@" "$word"
  done
  shift "$((all - 1))"
  command "$@" 2>/dev/null
}

# Prints what a unit needs, from what this host shows now: start, restart, reload or nothing: UNIT RESTART-COUNT PATH...
# Uses $active, $sub, $wanted, and the marks, saved and current.
unit_action() {
  case $active/$sub/$wanted in
    inactive/* | failed/* | deactivating/*) printf start ;;
    # What was planned is done, whatever the marks say: somebody may have started it with files of his own that are gone now.
    */auto-restart*/* | */restarted) printf restart ;;
    */reloaded) printf reload ;;
    *)
      if [ "$restart_mark" != none ] && [ "$restart_mark" != "$restart_saved" ] && ! unit_is_fresh "$@"; then
        printf restart
      elif [ "$reload_mark" != none ] && [ "$reload_mark" != "$reload_saved" ] && ! unit_is_all_fresh "$@"; then
        printf reload
      fi
      ;;
  esac
}

# Step: UNIT ENABLED started|restarted|reloaded|stopped RESTART-COUNT PATH...: enables, starts, restarts or reloads a unit, as
# it needs.
unit_converge() {
  unit=$1 enabled=$2 wanted=$3
  shift 3
  unit_state "$unit" NeedDaemonReload LoadState UnitFileState FragmentPath ActiveState SubState InvocationID
  property_value ActiveState
  active=$value
  property_value SubState
  sub=$value
  property_value InvocationID
  invocation=$value
  unit_other_file "$unit" "$@"
  property_value UnitFileState
  case $enabled/$value in
    true/enabled | true/static | true/alias | true/generated | true/indirect | false/disabled | false/static | false/) set_up=no ;;
    *) set_up=yes ;;
  esac
  # Both verbs make systemd read its unit files again.
  if [ "$set_up/$enabled" = yes/true ]; then
    unit_order -q enable -- "$unit"
  elif [ "$set_up" = yes ]; then
    unit_order -q disable -- "$unit"
  else
    property_values NeedDaemonReload LoadState
    case $values in yes/* | */not-found) other_file=yes ;; esac
    if [ -n "$other_file" ] || watches_unit_files "$@"; then unit_order daemon-reload; fi
  fi
  if [ "$wanted" = stopped ]; then
    unit_order stop -- "$unit" || unit_is_held "$unit"
    rm -f "$state_dir/units/$unit"
    return 0
  fi
  unit_saved "$unit"
  unit_marks "$@"
  action=$(unit_action "$unit" "$@")
  [ -z "$action" ] || keep_old "$state_dir/units/$unit"
  case $action in
    start | restart)
      # One that has never run has not failed, nor been started too often.
      [ -z "$invocation" ] || unit_order reset-failed -- "$unit" 2>/dev/null || true
      unit_order --no-block restart -- "$unit"
      ;;
    reload) unit_order --no-block reload-or-restart -- "$unit" ;;
  esac
  if [ -n "$action" ]; then unit_watch "$unit"; fi
  # A mark says what the unit runs with, so it is saved once that is seen. Where a script ends before, the next run sees that
  # the unit started after its files were written.
  case $action in start | restart) unit_invoked "$unit" ;; esac
  unit_save "$unit" "$restart_mark" "$reload_mark"
}

# Fails unless a unit was started anew since $invocation was read: UNIT.
unit_invoked() {
  [ -n "$invocation" ] || return 0
  unit_state "$1" InvocationID
  property_value InvocationID
  [ "$value" != "$invocation" ] || fail "$1 was told to restart and runs on as before"
}

# Whether a unit watches unit files besides its own: RESTART-COUNT PATH... Of its own systemd says that it changed, but
# not of its first drop-in, nor of the mount of an automount.
watches_unit_files() {
  shift
  for watched in "$@"; do
    case $watched in
      */systemd/system/"$unit") ;;
      */systemd/system/*) return 0 ;;
    esac
  done
  return 1
}

# Watches a queued start: until the old process is gone, then for up to 3 s. An agent that is still activating then waits
# for its peers: a gate judges it.
unit_watch() {
  looks=30 steady=no stopping=1000
  while [ "$looks" -gt 0 ]; do
    pause=0.1
    unit_state "$1" ActiveState SubState Job Type Result RemainAfterExit
    property_values ActiveState SubState Job
    case $values in
      deactivating/*)
        # The old process still answers, and a gate would praise it. An agent that was told to stop while it was
        # starting can lose the signal: systemd then waits for TimeoutStopSec before it kills.
        looks=$((looks + 1)) stopping=$((stopping - 1))
        [ "$stopping" -gt 0 ] || unit_trouble "$1"
        ;;
      */auto-restart*/* | failed/*/ | failed/*/0) unit_trouble "$1" ;;
      active/*/ | active/*/0)
        # A simple service is active before its program has read its configuration: look again.
        property_value Type
        case $value in simple | exec | idle) ;; *) return 0 ;; esac
        [ "$steady" = no ] || return 0
        steady=yes pause=0.3
        ;;
      inactive/*/ | inactive/*/0)
        # One that remains is gone because something that it requires failed.
        property_values Type Result RemainAfterExit
        case $values in
          oneshot/success/yes) ;;
          oneshot/success/*) return 0 ;;
        esac
        unit_trouble "$1"
        ;;
    esac
    # Some builds of busybox only know whole seconds.
    sleep "$pause" 2>/dev/null || sleep 1
    looks=$((looks - 1))
  done
}

# Step: UNIT SECONDS: waits until a unit that was started is there for others.
unit_await() {
  looks=$(($2 * 5))
  while [ "$looks" -gt 0 ]; do
    unit_state "$1" ActiveState SubState Job
    property_values ActiveState Job
    case $values in
      active/ | active/0 | inactive/ | inactive/0) return 0 ;;
      failed/ | failed/0) break ;;
    esac
    # As above.
    sleep 0.2 2>/dev/null || sleep 1
    looks=$((looks - 1))
  done
  unit_trouble "$1"
}

# Ends the step with why a unit does not run and the end of its journal. Its marks are forgotten: whatever was
# started did not come up, so the next run starts it again.
unit_trouble() {
  rm -f "$state_dir/units/$1"
  unit_state "$1" ActiveState SubState Result ExecMainStatus ConditionResult
  property_value ConditionResult
  if [ "$value" = no ]; then
    printf '%s was not started: a condition in its unit file is not met\n' "$1"
  else
    printf '%s does not run: %s (%s), result %s, exit status %s\n' "$1" "$(property ActiveState)" \
      "$(property SubState)" "$(property Result)" "$(property ExecMainStatus)"
  fi
  # What the unit said last may still be on its way.
  journalctl --sync 2>/dev/null || true
  journalctl -u "$1" -n 18 --no-pager -q -o cat || true
  exit 1
}

# Probe: UNIT-FILE UNIT WHERE: the unit file of a mount, and its unit.
mount_probe() {
  file_probe "$1" read
  unit_probe "$2" 1 "$1"
}

# Step: makes the folder to mount on, unless it is there in whatever shape.
mount_point() {
  undo_record undo_directory "$1"
  [ -d "$1" ] || (umask 022 && mkdir -p "$1")
}

# ---- drills ----

# Step: notes what puts a fault of a drill back, before it is done, and has systemd put it back after SECONDS whatever becomes of the drill:
# SECONDS LINE..., a line being `start UNIT`, `reach ADDRESS`, or `route` with one as `ip route` shows it.
drill_begin() {
  folder=$state_dir/drill seconds=$1
  shift
  mkdir -p "$folder"
  printf '%s\n' "$@" >"$folder/list"
  cat >"$folder/put-back" <<'END'
while read -r what name; do
  case $what in
    start) systemctl start "$name" ;;
    reach) ip route del blackhole "$name" 2>/dev/null || : ;;
    route) ip route replace $name || : ;;
  esac
done <"${0%/*}/list"
rm -rf "${0%/*}"
END
  systemd-run -q --collect --unit bootstrap-drill-end --on-active="$seconds" sh "$folder/put-back"
}

# Step: puts back what a drill has done, if anything.
drill_put_back() {
  systemctl stop bootstrap-drill-end.timer 2>/dev/null || :
  [ ! -e "$state_dir/drill/put-back" ] || sh "$state_dir/drill/put-back"
}

# Step: the same, and its client goes with what it has printed.
drill_end() {
  drill_put_back
  drill_client_end
  rm -f /run/bootstrap-drill-client
}

# Step: what is sent to ADDRESS..., or to others by way of it, is lost from now on.
drill_cut() {
  for address in "$@"; do
    # Networks of containers, say; there it would go on. The default route stays: the operator may come by it.
    ip route show | grep -v '^default' | grep -F " via $address " | while read -r route; do
      printf 'route %s\n' "$route" >>"$state_dir/drill/list"
      # shellcheck disable=SC2086 # words
      ip route del $route
    done
    ip route add blackhole "$address"
  done
}

# Step: a client of a drill: COMMAND...; what it prints goes to a file. It ends by itself where nobody ends it.
drill_client() {
  systemctl stop bootstrap-drill-client.service 2>/dev/null || :
  rm -f /run/bootstrap-drill-client
  systemd-run -q --collect --unit bootstrap-drill-client -p StandardOutput=append:/run/bootstrap-drill-client -p RuntimeMaxSec=900 "$@"
}

# Step: ends it.
drill_client_end() {
  systemctl stop bootstrap-drill-client.service 2>/dev/null || :
}

# Probe: whether a drill has left something to put back, or its client.
drill_probe() {
  if [ -e "$state_dir/drill/put-back" ] || [ -e /run/bootstrap-drill-client ]; then say left yes; fi
}

# Probe: what a command prints: COMMAND...
exec_output() {
  if output=$(command "$@" 2>&1); then say output "$output"; else say failed "$output"; fi
}

# ---- commands, kernel ----

# Probe: whether something exists.
exec_creates() {
  if [ -e "$1" ] || [ -L "$1" ]; then
    say satisfied yes
  else
    path_absence "$1" || return 1
    say satisfied no
  fi
}

# Probe: whether a guard, which only reads, says that nothing is to do.
exec_unless() {
  # Not by this shell itself, whatever word comes first.
  if (command "$@") >/dev/null 2>&1; then say satisfied yes; else say satisfied no; fi
}

# Probe: the same for a guard that prints what differs.
exec_diff() {
  if diff=$(command "$@" 2>/dev/null); then
    say satisfied yes
  else
    say satisfied no
    say diff "$(printf '%s\n' "$diff" | sed 200q)"
  fi
}

# Step: runs a command.
exec_run() {
  umask 022
  command "$@"
}

# Step: runs a command while a unit runs; where it does not, there is nobody who could do it: UNIT COMMAND...
exec_while_active() {
  systemctl is-active -q "$1" || return 0
  shift
  exec_run "$@"
}

# Step: runs a command again until it succeeds: SECONDS COMMAND...; what has no leader for a moment refuses. The last try's
# output counts.
exec_until() {
  umask 022
  seconds=$1
  shift
  try_until "$seconds" command "$@"
}

# Tries until it succeeds: SECONDS FUNCTION-OR-COMMAND...
try_until() {
  left=$1
  shift
  until output=$("$@" 2>&1); do
    left=$((left - 1))
    if [ "$left" -le 0 ]; then
      printf '%s\n' "$output"
      return 1
    fi
    sleep 1
  done
  if [ -n "$output" ]; then printf '%s\n' "$output"; fi
}

# Step: has a product forget somebody, by a command that is tried until it succeeds: SECONDS COMMAND...
forget_until() {
  seconds=$1
  shift
  try_until "$seconds" forget_once "$@"
}

# Who is not known is forgotten already: Consul's autopilot removes dead servers by itself, and gossip begins anew with an agent.
forget_once() {
  if said=$(command "$@" 2>&1); then return 0; fi
  case $said in *'No node found'* | *'was not found in the Raft'*) return 0 ;; esac
  printf '%s\n' "$said"
  return 1
}

# Step: sends an empty PUT to an agent on this host until it is taken: SECONDS URL. Not every product's own program has a word
# for all that its API can do.
http_put_until() {
  try_until "$1" http_put "$2"
}

# Calls a function with a variable in the environment of what it runs, as products take their tokens: NAME VALUE FUNCTION ARG...
with_variable() {
  token_variable=$1
  export "$1=$2"
  shift 2
  "$@"
  set -- "$?"
  unset "$token_variable"
  return "$1"
}

# Sends an empty PUT, by what a host has.
http_put() {
  if command -v curl >/dev/null; then
    curl -q --silent --show-error --fail --max-time 10 --noproxy '*' -X PUT -o /dev/null "$1"
  else
    wget --no-config -q --no-proxy --timeout=10 --tries=1 --method=PUT -O /dev/null "$1"
  fi
}

# Step: removes what an agent keeps, and its folder where nothing else is in it: FOLDER PATH...
data_remove() {
  folder=$1
  shift
  rm -rf --one-file-system -- "$@"
  [ -d "$folder" ] || return 0
  # A place where something is mounted stays.
  rmdir "$folder" 2>/dev/null || echo "$folder stays: it holds something else, or is mounted"
}

# Step: moves what a former member keeps out of the reach of its agent: PATH... Nothing of it is lost, and nothing of it comes
# back by itself.
data_aside() {
  aside=left-$(date -u +%Y%m%dT%H%M%SZ)
  for path in "$@"; do
    [ -e "$path" ] || continue
    mv "$path" "$path.$aside"
    printf '%s is %s now\n' "$path" "$path.$aside"
  done
}

# Step: writes who a raft server's peers are, which it reads once when it starts: FILE JSON. Beside it, owned as its folder is,
# and renamed: all of it is read, or nothing.
peers_write() {
  stage "$1"
  printf %s "$2" >"$staged"
  chown "$(stat -c %u:%g "${1%/*}")" "$staged"
  chmod 600 "$staged"
  into_place "$staged" "$1"
}

# Sets $live to the file that holds a sysctl; the dots and slashes of a key trade places.
sysctl_file() {
  case $1 in
    */*) live=/proc/sys/$(printf %s "$1" | tr ./ /.) ;;
    *)
      IFS=.
      set -f
      live=/proc/sys
      for part in $1; do live=$live/$part; done
      set +f
      unset IFS
      ;;
  esac
}

# Probe: KEY FILE: the live value and the file that sets it at boot.
sysctl_probe() {
  sysctl_file "$1"
  if [ -r "$live" ]; then say_line live "$live"; else say live-missing "$live"; fi
  file_probe "$2" read
}

# Step: KEY VALUE: sets the live value.
sysctl_set() {
  sysctl_file "$1"
  [ -e "$live" ] || fail "the kernel has no $1: $live does not exist"
  undo_record undo_sysctl "$1" "$live"
  printf '%s\n' "$2" >"$live"
}

# Probe: MODULE FILE: whether it is in the kernel, and the file that loads it at boot.
module_probe() {
  if [ -d "/sys/module/$(printf %s "$1" | tr - _)" ]; then say loaded yes; else say loaded no; fi
  file_probe "$2" read
}

# Step: loads a kernel module.
module_load() {
  modprobe "$1"
}

# ---- clusters ----

# Probe: the cluster this host was made part of, as this program wrote it.
cluster_read() {
  file_read "$state_dir/cluster"
}

# Step: remembers the cluster this host is part of.
cluster_write() {
  state_write cluster "$1"
}

# Probe: the jobs that this program has submitted to the server on this host, as it wrote them.
jobs_read() {
  file_read "$state_dir/jobs"
}

# Remembers them.
jobs_write() {
  state_write jobs "$1"
}

# NAME LINE: what a file of this program's own says from now on.
state_write() {
  mkdir -p "$state_dir"
  printf '%s\n' "$2" >"$state_dir/.$1.new"
  into_place "$state_dir/.$1.new" "$state_dir/$1"
}

# Probe: the node's id in an agent's data folder, digests of the keys of its gossip, and raft data there with the time when it
# was last written.
raft_data() {
  for ring in "$1/serf/local.keyring" "$1/serf.keyring"; do
    [ ! -r "$ring" ] || gossip_keys "$ring"
  done
  say_line node-id "$1/node-id"
  for data in "$1/raft/raft.db" "$1/raft/wal"; do
    if [ -e "$data" ]; then
      say raft "$data"
      path_stat "$data" || return 1
      say mtime "$written"
      return 0
    fi
  done
  path_absence "$1/raft/raft.db" || return 1
  say raft absent
}

# Says the digest of each key in a keyring of Serf's, a list of texts in JSON: FILE.
gossip_keys() {
  while read -r line || [ -n "$line" ]; do
    set -f
    IFS='[]", '
    # shellcheck disable=SC2086 # to be taken apart at what is no part of a key
    set -- $line
    unset IFS
    set +f
    for key in "$@"; do
      [ -n "$key" ] || continue
      sum=$(printf %s "$key" | sha256sum)
      say gossip "${sum%% *}"
    done
  done <"$1"
}

# Probe: UNFINISHED PLACE... [- REMAINS...]: which of the places there is, unless it was left behind by what was killed at
# UNFINISHED, in the words of `raft_data`; and all of the remains that there are.
state_data() {
  unfinished=$1
  shift
  found=
  remains=
  for data in "$@"; do
    if [ "$data" = - ]; then
      remains=yes
    elif [ ! -e "$data" ]; then
      continue
    elif [ -n "$remains" ]; then
      # Packages bring folders with nothing in them.
      { [ -d "$data" ] && [ -z "$(ls -A "$data")" ]; } || say remains "$data"
    elif [ -z "$found" ] && { [ -z "$unfinished" ] || [ ! -e "$unfinished" ]; }; then
      found=yes
      say raft "$data"
      path_stat "$data" || return 1
      say mtime "$written"
    fi
  done
  [ -z "$found" ] || return 0
  if [ -z "$unfinished" ] || [ ! -e "$unfinished" ]; then path_absence "$1" || return 1; fi
  say raft absent
}

# Probe: the last lines of a unit's journal.
journal_tail() {
  say lines "$(journalctl -u "$1" -n "$2" --no-pager -q -o short-iso)"
}

# Which URLs this script has asked, and what they answered: URL and body in turn, a separator after each.
tried=''
answered=''

# Says what an agent answered, and keeps it for who needs it too: URL STATUS BODY.
said_by() {
  say status "$2"
  # JSON is UTF-8, which goes through a line as it is.
  case $3 in
    *[[:cntrl:]]*) say body "$3" ;;
    *) printf '%s seen %s body =%s\n' "$nonce" "$probe" "$3" ;;
  esac
  answered=$answered$1$separator$3$separator
}

# What a program that asks an API is given on its standard input: lines such as `X-Consul-Token: …` for the head of each request.
headers=''

# Calls a function whose requests are headed with these lines, which no list of processes shows: LINES FUNCTION ARG...
with_headers() {
  headers=$1
  shift
  "$@"
  set -- "$?"
  headers=''
  return "$1"
}

# Probe: asks a local API: says `status` and `body` of each URL in turn, in 2 s or not at all.
http_get() {
  if command -v perl >/dev/null; then
    http_together perl -e "$gets_perl" -- "$@"
  elif command -v curl >/dev/null; then
    http_together curl -q -K - --silent --show-error --max-time 2 --noproxy '*' --fail-early \
      -w "$separator%{http_code}$separator" -- "$@"
  else
    for url in "$@"; do http_any "$url" || return 1; done
  fi
}

# Probe: sends a request to an agent of this host, by a file of settings for curl: SETTINGS. Says `status` and `body`.
http_send() {
  command -v curl >/dev/null || fail 'cannot ask an agent: install curl'
  said=$(curl -q -K - --silent --show-error --max-time 5 --noproxy '*' -w "$separator%{http_code}" 2>&1 <<EOF
$1
EOF
  ) || fail "$said"
  said_by '' "${said##*"$separator"}" "${said%"$separator"*}"
}

# The control character that separates records. (A `printf` that makes it would be a process.)
separator=''

# Asks all URLs by one program, which prints body and status of each with a separator after it: to start one takes longer than to be
# answered. What answers in JSON has no bare control character in it. PROGRAM... -- URL...
http_together() {
  failed=0
  given=$headers
  [ "$1" != curl ] || curl_headers
  answers=$(
    "$@" <<EOF
$given
EOF
  ) || failed=1
  while [ "$1" != -- ]; do shift; done
  shift
  urls=$* tried="$tried $* "
  set -f
  IFS=$separator
  # shellcheck disable=SC2086 # to be taken apart at the separators
  set -- $answers
  unset IFS
  set +f
  while [ "$#" -ge 2 ] && [ "$2" != 000 ]; do
    said_by "${urls%% *}" "$2" "$1"
    urls=${urls#* }
    shift 2
  done
  return "$failed"
}

# The same lines as curl reads them from a file: a token has neither quotes nor backslashes in it.
curl_headers() {
  given=''
  [ -n "$headers" ] || return 0
  while IFS= read -r line; do
    given="$given${given:+$nl}header = \"$line\""
  done <<EOF
$headers
EOF
}

# Gets URLs by IPv4 address and port. By HTTP/1.0, since answers are whole then, and without a module: to load those that know HTTP, or to start
# curl with all its libraries, takes several times as long as this (2: AF_INET, 1: SOCK_STREAM, as Linux numbers them).
# shellcheck disable=SC2016 # the variables are perl's
gets_perl='
$SIG{ALRM} = sub { die "no answer within 2 s\n" };
chomp(my @lines = grep { /\S/ } <STDIN>);
my $lines = join "", map { "$_\r\n" } @lines;
for my $url (@ARGV) {
  my ($host, $port, $path) = $url =~ m{^http://([\d.]+):(\d+)(/.*)$}s or die "neither an address nor a port: $url\n";
  alarm 2;
  socket my $socket, 2, 1, 0 or die "no socket: $!\n";
  connect $socket, pack "S n C4 x8", 2, $port, split /\./, $host or die "cannot connect to $host:$port: $!\n";
  local ($/, $SIG{PIPE}) = (undef, "IGNORE");
  syswrite $socket, "GET $path HTTP/1.0\r\nHost: $host:$port\r\n$lines\r\n";
  my ($head, $body) = split /\r\n\r\n/, readline($socket) // "", 2;
  my ($status) = ($head // "") =~ m{^HTTP/\S+ (\d+)} or die "no answer from $host:$port\n";
  print $body // "", "\x1e$status\x1e";
}'

# Probe: asks over TLS: (URL AUTHORITY CERTIFICATE KEY ACCEPT BODY)... says `status` and `body` of each in turn; the status is
# 0 where nobody answers, and the body the reason.
tls_get() {
  while [ "$#" -ge 6 ]; do
    if [ ! -e "$3" ]; then
      echo "it has no certificate to ask with: $3 is not there" >&2
      return 1
    fi
    tls_ask "$@"
    shift 6
  done
}

# The first of these questions.
tls_ask() {
  url=$1 accept=$5 body=$6 mark=$separator tried="$tried $1 "
  set -- -q --cacert "$2" --cert "$3" --key "$4" --silent --show-error --max-time 3 --noproxy '*' -w "$mark%{http_code}"
  [ -z "$accept" ] || set -- "$@" -H "Accept: $accept"
  [ -z "$body" ] || set -- "$@" -d "$body"
  # The dot keeps the newlines at the end of the body. Reasons come before the mark too.
  if answer=$(curl "$@" "$url" 2>&1 && printf .); then
    answer=${answer%.}
    said_by "$url" "${answer##*"$mark"}" "${answer%"$mark"*}"
  else
    say status 0
    say body "${answer%"$mark"*}"
  fi
}

# Probe: which of its peers a server on this host cannot connect to, one attempt each: KEY http_get URL, or KEY tls_get URL
# AUTHORITY CERTIFICATE KEY ACCEPT BODY. The server itself says where they are, in JSON below KEY; where it does not answer, nothing
# is said. Who is asked over TLS is visited over TLS: etcd logs each connection that ends before that, Consul and Nomad none that
# ends before its first byte.
peers_reach() {
  key=$1
  shift
  answer_known "$2" || { "$@" && answer_known "$2"; } >/dev/null 2>&1 || return 0
  [ -n "$answer" ] || return 0
  json_places "$key" "$answer"
  set -f
  if [ "$1" = http_get ] && command -v perl >/dev/null; then
    # shellcheck disable=SC2086 # each is a word
    lost=$(perl -e "$visits_perl" -- $places 2>/dev/null)
  else
    lost=$(
      for place in $places; do
        { peer_reached "$place" "$@" >/dev/null 2>&1 || printf '%s\n' "$place"; } &
      done
      wait
    )
  fi
  for place in $lost; do say lost "$place"; done
  set +f
}

# Prints those of the places to which no connection can be made within 2 s: all are tried at the same time, by one process. Linux alone
# is meant (2: AF_INET, 1: SOCK_STREAM, 2048: SOCK_NONBLOCK; its `select` says what is left of the time): to load the modules
# that know these names takes ten times as long as all the rest.
# shellcheck disable=SC2016 # the variables are perl's
visits_perl='
my (%open, @lost);
for my $place (@ARGV) {
  my ($address, $port) = $place =~ /^\[?(.*?)\]?:(\d+)$/ or next;
  my ($family, $to);
  if ($address =~ /^\d+\.\d+\.\d+\.\d+$/) {
    ($family, $to) = (2, pack "S n C4 x8", 2, $port, split /\./, $address);
  } else {
    require Socket;
    ($family, $to) = (Socket::AF_INET6(), Socket::inet_pton(Socket::AF_INET6(), $address));
    $to = Socket::pack_sockaddr_in6($port, $to) if defined $to;
  }
  if (defined $to && socket my $socket, $family, 1 | 2048, 0) {
    connect $socket, $to;
    $open{$place} = $socket;
  } else {
    push @lost, $place;
  }
}
my $left = 2;
while (%open && $left > 0) {
  my $write = ""; vec($write, fileno $_, 1) = 1 for values %open;
  (undef, $left) = select undef, $write, undef, $left;
  for my $place (keys %open) {
    next unless vec $write, fileno $open{$place}, 1;
    push @lost, $place unless getpeername $open{$place};
    delete $open{$place};
  }
}
print "$_\n" for @lost, keys %open;'

# Sets $answer to what a URL has answered to this script, or to nothing where it has not; fails where it has not been asked: URL.
answer_known() {
  answer=''
  case $tried in *" $1 "*) ;; *) return 1 ;; esac
  set -f
  IFS=$separator
  # shellcheck disable=SC2086 # to be taken apart at the separators
  set -- "$1" $answered
  unset IFS
  set +f
  url=$1
  shift
  while [ "$#" -ge 2 ]; do
    [ "$1" != "$url" ] || answer=$2
    shift 2
  done
}

# Sets $places to those below a key in JSON, HOST:PORT of an address or of the first URL of a list: KEY JSON.
json_places() {
  key=$1 places=''
  set -f
  IFS='"'
  # shellcheck disable=SC2086 # to be taken apart at the quotes
  set -- $2
  unset IFS
  set +f
  while [ "$#" -ge 3 ]; do
    # KEY, a colon and what opens a list, the place.
    [ "$1" != "$key" ] || places="$places ${3#*://}"
    shift
  done
}

# Whether a connection to a peer can be made, in 2 s or not at all: the kernel repeats a lost first packet after one. PLACE, and
# how its own server is asked. The connection is closed in good order.
peer_reached() {
  if [ "$2" = tls_get ]; then
    curl -q --silent --max-time 2 --noproxy '*' --cacert "$4" --cert "$5" --key "$6" -o /dev/null "https://$1/version"
    # 7: no connection, 28: its time was over. Whoever says anything else was reached.
    case $? in 7 | 28) return 1 ;; *) return 0 ;; esac
  fi
  address=${1%:*}
  address=${address#\[}
  # shellcheck disable=SC2016 # its own arguments
  timeout 2 bash -c 'exec 3<>"/dev/tcp/$1/$2"' sh "${address%\]}" "${1##*:}"
}

# One URL, by what a host without curl has.
http_any() {
  tried="$tried $1 "
  # The dot keeps the newlines at the end of the body.
  answer=$(http_raw "$1" && printf .) || return 1
  answer=${answer%.}
  first=${answer%%"$nl"*}
  first=${first#* }
  end_of_head=$(printf '\r\n\r\n.')
  said_by "$1" "${first%% *}" "${answer#*"${end_of_head%.}"}"
}

# Prints a whole answer, head and body; an error status is an answer too.
http_raw() {
  # A list of processes shows what wget is told to send.
  if [ -z "$headers" ] && wget --help 2>&1 | grep -q -e --save-headers; then
    # 8: an error status.
    wget --no-config -q -T 2 -t 1 --no-proxy --content-on-error --save-headers -O - "$1" || [ "$?" -eq 8 ] || fail "no answer from $1"
  elif command -v python3 >/dev/null; then
    python3 -c "$http_python" "$1" <<EOF
$headers
EOF
  else
    fail "cannot ask $1: install curl, wget, python3 or perl"
  fi
}

# By python, which does not show the answer as it came.
http_python='
import sys, urllib.request, urllib.error
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
lines = [line.strip().split(": ", 1) for line in sys.stdin if line.strip()]
request = urllib.request.Request(sys.argv[1], headers=dict(lines))
try: reply = opener.open(request, timeout=2)
except urllib.error.HTTPError as error: reply = error
sys.stdout.write("HTTP/1.1 %d \r\n\r\n" % reply.getcode()); sys.stdout.flush()
sys.stdout.buffer.write(reply.read())'

# ---- real uses ----

# Probe: GUARD FUNCTION ARG...: uses what was set up, unless there is a guard that does not exist.
use_probe() {
  [ -z "$1" ] || [ -e "$1" ] || return 0
  shift
  "$@"
}

# Says whether a command ends well: COMMAND ARG...
command_ask() {
  if output=$(timeout 20 "$@" 2>&1); then
    say right yes
  else
    say trouble "$(printf %s "$output" | tail -n 3)"
  fi
}

# Says what a name is to this host, in 5 s or not at all: NAME A|SRV [SERVER...], the servers for tests.
lookup_ask() {
  name=$1 kind=$2
  shift 2
  if [ "$kind" = A ]; then
    # More than once: of several name servers one may know it and another not, and then the answer is luck.
    if answers=$(timeout 5 getent ahostsv4 "$name" "$name" "$name"); then
      # Once for every kind of socket.
      for answer in $(printf '%s\n' "$answers" | cut -d ' ' -f 1 | sort -u); do say answer "$answer"; done
    elif [ "$?" -ge 124 ]; then
      say trouble 'no answer within 5 s'
    else
      say trouble ''
    fi
    return 0
  fi
  if command -v perl >/dev/null; then
    answers=$(timeout 5 perl -e "$dns_perl" 33 "$name" "$@")
  elif command -v python3 >/dev/null; then
    answers=$(timeout 5 python3 -c "$dns_python" 33 "$name" "$@")
  elif command -v dig >/dev/null; then
    # Its lines are PRIORITY WEIGHT PORT TARGET.
    answers=$(timeout 5 dig +short +time=2 +tries=1 SRV "$name" | cut -d ' ' -f 3-)
  else
    wrong 'cannot ask for a service record: install perl, python3 or dig' || return 1
  fi
  IFS=$nl
  for answer in $answers; do
    case $answer in '!'*) say trouble "${answer#!}" ;; *) say answer "${answer%.}" ;; esac
  done
  unset IFS
}

# Says whether a name outside is found, where the host's own name servers know it: BEFORE GUARD NAME HOW WORD...
#
# BEFORE is what an earlier look found to be known, or empty; GUARD as of `use_probe`. An empty NAME is that of a package source. HOW
# is `host`, by the C library; `servers`, by those that follow; or `command`, which gets the name as its last word.
outside_ask() {
  known=$1 guard=$2 name=$3 how=$4
  shift 4
  own=$(own_servers '')
  if [ -n "$known" ]; then
    name=$known
  else
    name=${name:-$(package_site '')}
    [ -n "$name" ] || return 0
    # shellcheck disable=SC2086 # each is a word
    case $(if [ -n "$own" ]; then address_ask "$name" $own; else timeout 5 getent ahostsv4 "$name"; fi) in
      '' | '!'*) return 0 ;;
    esac
  fi
  say outside "$name"
  say own "$own"
  [ -z "$guard" ] || [ -e "$guard" ] || return 0
  case $how in
    host)
      name_servers /etc/resolv.conf
      say asked "${found# }"
      command_ask getent ahostsv4 "$name" "$name" "$name"
      ;;
    servers)
      say asked "$*"
      for _ in 1 2 3; do
        answer=$(address_ask "$name" "$@")
        case $answer in
          '') answer='!no answer' ;;
          '!'*) ;;
          *) continue ;;
        esac
        say trouble "${answer#!}"
        return 0
      done
      say right yes
      ;;
    command) command_ask "$@" "$name" ;;
  esac
}

# Prints the name servers that the host has by itself, before anything of ours, as far as they are others: ROOT, empty but in tests.
own_servers() {
  found=''
  if [ -r "$state_dir/resolver" ]; then
    text=''
    while read -r line || [ -n "$line" ]; do text=$text$line; done <"$state_dir/resolver"
    case $text in *'"nameservers":'*) found=${text#*'"nameservers":'} ;; esac
    found=${found#*[}
    found=${found%%]*}
  else
    name_servers "$1/etc/resolv.conf"
  fi
  case $found in
    *127.0.0.53*) name_servers "$1/run/systemd/resolve/resolv.conf" ;;
  esac
  own=''
  # A list in JSON has quotes and commas.
  IFS='", '
  for server in $found; do
    # What asks them knows IPv4 alone, and on the loopback answers somebody who may be ours.
    case $server in '' | 127.* | *:*) ;; *) own="$own $server" ;; esac
  done
  unset IFS
  printf %s "${own# }"
}

# Sets $found to the name servers in a file as the C library reads it: FILE.
name_servers() {
  found=''
  [ -r "$1" ] || return 0
  while read -r word server _ || [ -n "$word" ]; do
    [ "$word" != nameserver ] || found="$found $server"
  done <"$1"
}

# Prints the first site of packages that has a name: ROOT, empty but in tests.
package_site() {
  for file in "$1/etc/apt/sources.list" "$1"/etc/apt/sources.list.d/*.list "$1"/etc/apt/sources.list.d/*.sources \
    "$1"/etc/yum.repos.d/*.repo "$1/etc/apk/repositories"; do
    [ -r "$file" ] || continue
    while read -r line || [ -n "$line" ]; do
      line=${line%%#*}
      case $line in *http://* | *https://*) ;; *) continue ;; esac
      site=${line##*://}
      site=${site%%[/: ]*}
      case $site in
        *[!A-Za-z0-9.-]* | *[!A-Za-z] | .*) ;;
        *.*)
          printf %s "$site"
          return 0
          ;;
      esac
    done <"$file"
  done
}

# Prints the addresses of a name by these servers in turn, as the C library asks them, or !TROUBLE: NAME SERVER...
address_ask() {
  if command -v perl >/dev/null; then
    timeout 5 perl -e "$dns_perl" 1 "$@"
  elif command -v python3 >/dev/null; then
    timeout 5 python3 -c "$dns_python" 1 "$@"
  fi
}

# Asks the name servers of /etc/resolv.conf in turn, as the C library does, for records of a type (33 SRV, 1 A), and prints PORT
# TARGET or an address of each, or !TROUBLE. A test names other servers as ADDRESS#PORT.
# shellcheck disable=SC2016 # the variables are perl's
dns_perl='
use IO::Socket::INET; use Socket qw(inet_aton);
my ($kind, $name, @servers) = @ARGV;
if (!@servers && open my $conf, "<", "/etc/resolv.conf") { /^\s*nameserver\s+(\d[\d.]+)\s*$/ && push @servers, $1 while <$conf>; }
@servers = ("127.0.0.1") unless @servers;
my $query = pack("n6", $$ & 65535, 256, 1, 0, 0, 0) . join("", map { pack("C/a", $_) } split /\./, $name) . pack("Cnn", 0, $kind, 1);
sub text { my ($m, $at, $jumps) = @_; my @parts; my $end;
  for (1 .. 128) { my $n = ord substr($m, $at, 1);
    if ($n >= 192) { $end = $at + 2 unless defined $end; $at = unpack("n", substr($m, $at, 2)) & 16383; next }
    if ($n == 0) { $end = $at + 1 unless defined $end; last }
    push @parts, substr($m, $at + 1, $n); $at += $n + 1 }
  return (join(".", @parts), $end) }
my @codes = ("no such record", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED");
my $trouble = "no answer";
for my $server (@servers) {
  my ($address, $port) = split /#/, $server;
  my $socket = IO::Socket::INET->new(PeerAddr => $address, PeerPort => $port || 53, Proto => "udp") or next;
  $socket->send($query); my $set = ""; vec($set, fileno $socket, 1) = 1; my $m;
  unless (select($set, undef, undef, 2) && defined $socket->recv($m, 4096) && length $m > 12) { $trouble = "no answer from $address"; next }
  my ($id, $flags, $questions, $answers) = unpack "n4", $m; my $code = $flags & 15;
  if ($code != 0 && $code != 3) { $trouble = "$address says $codes[$code]"; next }
  my $at = 12; my $found = 0;
  for (1 .. $questions) { (undef, $at) = text($m, $at); $at += 4 }
  for (1 .. $answers) { (undef, $at) = text($m, $at); my ($type, undef, undef, $length) = unpack "nnNn", substr($m, $at, 10); $at += 10;
    if ($type == 1 && $kind == 1) { print join(".", unpack "C4", substr($m, $at, 4)), "\n"; $found = 1 }
    if ($type == 33) { my $port = unpack "n", substr($m, $at + 4, 2); my ($target) = text($m, $at + 6); print "$port $target\n"; $found = 1 }
    $at += $length }
  exit 0 if $found; print "!$address says ", $codes[$code] || $code, "\n"; exit 0
}
print "!$trouble\n";'

# The same by python.
dns_python='
import os, re, select, socket, struct, sys
want, name, servers = int(sys.argv[1]), sys.argv[2], sys.argv[3:]
try: servers = servers or re.findall(r"(?m)^\s*nameserver\s+(\d[\d.]+)\s*$", open("/etc/resolv.conf").read())
except OSError: pass
labels = b"".join(struct.pack("B", len(part)) + part.encode() for part in name.split(".") if part)
query = struct.pack(">6H", os.getpid() & 65535, 256, 1, 0, 0, 0) + labels + struct.pack(">BHH", 0, want, 1)
def text(m, at):
    parts, end = [], None
    for _ in range(128):
        n = m[at]
        if n >= 192:
            end = end or at + 2
            at = struct.unpack(">H", m[at:at + 2])[0] & 16383
        elif n == 0:
            return ".".join(parts), end or at + 1
        else:
            parts.append(m[at + 1:at + 1 + n].decode("ascii", "replace"))
            at += n + 1
    return "", end or at
codes = ["no such record", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED"]
trouble = "no answer"
for server in servers or ["127.0.0.1"]:
    address, _, port = server.partition("#")
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        s.connect((address, int(port or 53))); s.send(query)
        if not select.select([s], [], [], 2)[0]: raise OSError
        m = s.recv(4096)
        _, flags, questions, answers = struct.unpack(">4H", m[:8])
    except (OSError, struct.error):
        trouble = "no answer from " + address
        continue
    code = flags & 15
    if code not in (0, 3):
        trouble = address + " says " + (codes[code] if code < 6 else str(code))
        continue
    at, found = 12, False
    for _ in range(questions): at = text(m, at)[1] + 4
    for _ in range(answers):
        at = text(m, at)[1]
        kind, _, _, length = struct.unpack(">HHIH", m[at:at + 10])
        at += 10
        if kind == 1 and want == 1:
            print(socket.inet_ntoa(m[at:at + 4])); found = True
        if kind == 33:
            print(struct.unpack(">H", m[at + 4:at + 6])[0], text(m, at + 6)[0]); found = True
        at += length
    if not found: print("!" + address + " says " + codes[code])
    sys.exit()
print("!" + trouble)'
