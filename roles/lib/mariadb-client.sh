# For a script that is a client of MariaDB in drills, by the options in /etc/bootstrap-mariadb/drill.cnf. The script itself has `place`,
# which prints the host and the port of the one that serves, or why there is none.
client() { timeout 4 mariadb --defaults-file=/etc/bootstrap-mariadb/drill.cnf -N "$@" bootstrap_drill; }
milliseconds() { date +%s%3N; }
# ID: writes a row, into an empty table the first time.
write() {
  at=$(place 2>&1) || { echo "$at"; return 1; }
  # shellcheck disable=SC2086 # two words
  set -- "$1" $at
  [ $# = 3 ] || { echo "nobody serves"; return 1; }
  [ -n "$is_empty" ] || client -h "$2" -P "$3" -e 'CREATE TABLE IF NOT EXISTS kept (id VARCHAR(40) PRIMARY KEY); DELETE FROM kept' || return 1
  client -h "$2" -P "$3" -e "INSERT INTO kept VALUES ('$1')"
}

# A row each twentieth of a second, until it is ended.
write_rows() {
  run=$(date +%s)
  number=0 is_empty=
  while :; do
    number=$((number + 1))
    if said=$(write "$run-$number" 2>&1); then
      is_empty=yes
      echo "$(milliseconds) $run-$number"
    else
      echo "$(milliseconds) - $(printf %s "$said" | tr '\n' ' ')"
    fi
    sleep 0.03
  done
}

# Prints the rows that are there.
rows() {
  at=$(place) || exit 1
  # shellcheck disable=SC2086 # two words
  set -- $at
  client -h "$1" -P "$2" -e 'SELECT id FROM kept'
}
