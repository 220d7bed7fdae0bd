# For a script that runs MariaDB while this instance holds a lease, and not a moment longer. `state`, `config` and `data` are its
# folders and file, `service` and `cluster` name the data's owner, `min_free_mib` is the room that it needs, `asks_by` an option of
# MariaDB's clients that names the account to ask it by. The script itself has:
#   beat          says that this supervisor is alive
#   take          tries once to have the lease, with the time of the request in `renewed`; where it has it not, waits about a second
#   renew         succeeds while the lease is its own, with the time of the request in `renewed`. Fails with 1 where it is lost, and
#                 with 2 where nobody can say; the `reason` is a text, `limit` the hundredths of a second that it may go on so
#   give_away     the lease is free, where it was its own
#   register, is_registered, deregister    how clients find this instance
# shellcheck disable=SC2034,SC2154  # They are the script's own.

say() { printf '%s\n' "$*"; }
# Of a clock that nobody sets, in hundredths of a second.
now() {
  read -r uptime _ </proc/uptime
  echo "${uptime%.*}${uptime#*.}"
}
# KEY: the text that it has in the last answer.
answered() { sed -n "s/.*\"$1\": *\"\([^\"]*\)\".*/\1/p" "$state/answer" | head -n 1; }
# The beginning of what was said at the last question.
heard() { cat "$state/error" "$state/answer" 2>/dev/null | head -c 300; }

# Why this one does not serve, for `check` and the journal; each reason once.
because() {
  [ "$(cat "$state/why" 2>/dev/null)" = "$*" ] || say "$*"
  say "$*" >"$state/why"
}

# Release numbers of the data and of the program: the first two words of them, 10.11.
data_release() {
  for file in "$data/db/mariadb_upgrade_info" "$data/db/mysql_upgrade_info" "$data/release"; do
    # The last line of some has no end.
    [ ! -s "$file" ] || printf '%s\n' "$(sed -n 's/^\([0-9][0-9]*\.[0-9][0-9]*\).*/\1/p' "$file")"
  done | sort -V | tail -n 1
}
program_release() { mariadbd --version | sed -n 's/.*Ver \([0-9][0-9]*\.[0-9][0-9]*\).*/\1/p'; }

# Whether MariaDB could run here: says why not. Nothing is written.
can_serve() {
  # A dead server of NFS would hold each look at the folder for ever.
  timeout 5 stat -f "$data/." >/dev/null 2>&1 || { because "its folder $data is not there, does not answer, or may not be read by the account mysql, number $(id -u)"; return 1; }
  if [ -e "$data/owner" ]; then
    [ "$(cat "$data/owner")" = "$service of $cluster" ] || {
      because "$data belongs to $(cat "$data/owner"): two instances on one folder would destroy it; give this one another"
      return 1
    }
  elif [ -e "$data/db" ]; then
    because "$data/db is there, and not made by this role: if it is to be served, write '$service of $cluster' into $data/owner"
    return 1
  fi
  [ -w "$data" ] || { because "the account mysql, number $(id -u), may not write into $data"; return 1; }
  free=$(df -P -k "$data" | awk 'END { print int($4 / 1024) }')
  [ "$free" -ge "$min_free_mib" ] || { because "$data has $free MiB left, fewer than $min_free_mib"; return 1; }
  there=$(data_release)
  mine=$(program_release)
  [ -z "$there" ] || [ "$(printf '%s\n%s\n' "$there" "$mine" | sort -V | tail -n 1)" = "$mine" ] || {
    because "$data was written by MariaDB $there, and $mine is older: install $there here too"
    return 1
  }
}

# Waits until the lease is its own.
take_lease() {
  while :; do
    beat
    if ! can_serve; then
      sleep 1
    elif take; then
      : >"$state/why"
      return 0
    fi
  done
}

# Returns 1, with a `reason`, once MariaDB may not run any more.
keep_lease() {
  answer=0
  renew || answer=$?
  case $answer in
    0) return 0 ;;
    1) return 1 ;;
  esac
  [ $(($(now) - renewed)) -ge "$limit" ] || return 0
  reason="it could not be renewed for $((limit / 100)) s: $reason"
  return 1
}

# Makes the first data, whole or not at all.
make() {
  rm -rf "$data/db.new"
  say "making the first data in $data"
  mariadb-install-db --no-defaults --datadir="$data/db.new" --auth-root-authentication-method=socket --auth-root-socket-user=mysql \
    --skip-test-db >"$state/install.log" 2>&1 || { because "mariadb-install-db failed: $(tail -n 3 "$state/install.log")"; exit 1; }
  printf '%s\n' "$service of $cluster" >"$data/owner"
  sync "$data/owner"
  mv "$data/db.new" "$data/db"
}

is_running() { [ -n "$child" ] && kill -0 "$child" 2>/dev/null; }
pings() { timeout 2 mariadb-admin "$asks_by" --socket="$state/socket" ping >/dev/null 2>&1; }

# What it starts is a process group, and dies with this supervisor, however that ends.
start() {
  if [ -d "$data/db" ]; then
    setsid setpriv --pdeathsig KILL mariadbd --defaults-file="$config" &
  else
    setsid setpriv --pdeathsig KILL sh "$0" make &
  fi
  child=$!
  echo "$child" >"$state/group"
  is_ready=
}

# At once, and not by its leave.
kill_it() {
  [ -n "$child" ] || return 0
  kill -9 "-$child" 2>/dev/null || kill -9 "$child" 2>/dev/null
  wait "$child" 2>/dev/null
  child=
}

# While it holds the lease. Returns when it does not any more, or shall not.
serve() {
  child=
  is_ready=
  failures=0
  while :; do
    beat
    if ! keep_lease; then
      kill_it
      because "MariaDB was killed: $reason"
      deregister
      return
    fi
    beat
    if [ -n "$stopping" ]; then
      stop
      return
    fi
    if ! is_running; then
      if [ -n "$child" ]; then
        status=0
        wait "$child" || status=$?
        child=
        if [ "$status" != 0 ]; then
          say "MariaDB ended with status $status"
          failures=$((failures + 1))
          [ -z "$is_ready" ] || failures=0
        fi
      fi
      # What does not start here may start elsewhere.
      if [ "$failures" -ge 3 ]; then
        because "MariaDB ended three times before it was ready; another one may have the lease"
        give_away
        rest=$(($(now) + 3000))
        return
      fi
      start
    elif pings; then
      if [ -z "$is_ready" ]; then
        is_ready=yes
        mariadbd --version | sed -n 's/.*Ver \([^ ]*\).*/\1/p' >"$data/release"
        register
        say "serves, with the lease of $lease_name"
      elif ! is_registered; then
        register
      fi
      : >"$state/why"
      # A renewal that is late is tried again soon.
      [ $(($(now) - renewed)) -lt 150 ] || { sleep 0.2; continue; }
      pause
      continue
    fi
    [ -z "$is_ready" ] || because "MariaDB runs and does not answer: see its log"
    # What is about to be ready is asked again soon.
    sleep 0.2
  done
}
pause() { sleep 1 & wait $!; }

# The planned way: MariaDB ends by itself, then the lease is free at once.
stop() {
  deregister
  if is_running; then
    kill "$child"
    while is_running; do
      beat
      keep_lease || { kill_it; break; }
      sleep 0.2
    done
    [ -z "$child" ] || wait "$child" 2>/dev/null
  fi
  give_away
}

# Until it is asked to end.
supervise() {
  stopping=
  child=
  trap 'stopping=yes; [ -n "$child" ] || { give_away; exit 0; }' TERM INT
  rest=0
  while [ -z "$stopping" ]; do
    if [ "$(now)" -lt "$rest" ]; then
      beat
      sleep 1
      continue
    fi
    take_lease
    serve
  done
}
