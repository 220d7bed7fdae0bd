# shellcheck shell=bash
# What the scripts beside this one share: lab hosts, the clock, and rounds in which each way has its turn on fresh hosts.
# Whoever reads it in has set -euo pipefail and stands in the project's folder.
state=/var/lib/bootstrap-lab
# shellcheck disable=SC2034 # the scripts use it
mirror=http://10.77.0.1:7780
work=$(mktemp -d)
program=$PWD/target/release/bootstrap
trap 'rm -rf "$work"; "$program" lab down >/dev/null 2>&1 || :' EXIT

# NUMBER COMMAND...: runs it on a host.
on() {
  local host=$1 && shift
  ssh -F none -o BatchMode=yes -o "UserKnownHostsFile=$state/known_hosts" -i "$state/id_ed25519" "root@10.77.0.1$host" "$@"
}

# WORD...: fresh hosts, by these words of `lab up`.
bare() {
  "$program" lab up --fresh "$@" >"$work/lab.log" 2>&1 || { cat "$work/lab.log" >&2; exit 1; }
}

# COMMAND...: how long it takes, in seconds.
timed() {
  local began=$EPOCHREALTIME
  "$@" >"$work/run.log" 2>&1 || { tail -n 30 "$work"/*.log >&2; exit 1; }
  awk -v a="$began" -v b="$EPOCHREALTIME" 'BEGIN { printf "%.1f\n", b - a }'
}

median() { sort -n "$1" | awk '{ all[NR] = $1 } END { print all[int((NR + 1) / 2)] }'; }

# ROUNDS INVENTORY WORD...: the function `floor` and `bootstrap up`, one after the other in each round, on fresh hosts by these words.
compare() {
  local rounds=$1 inventory=$2 round
  shift 2
  for round in $(seq "$rounds"); do
    bare "$@"
    timed floor >>"$work/floor"
    bare "$@"
    rm -rf "${inventory%/*}/.bootstrap"
    timed "$program" up "$inventory" --yes --timeout 180s >>"$work/bootstrap"
    echo "round $round: by hand $(tail -n 1 "$work/floor") s, bootstrap $(tail -n 1 "$work/bootstrap") s"
  done
  awk -v a="$(median "$work/floor")" -v b="$(median "$work/bootstrap")" \
    'BEGIN { printf "medians: by hand %.1f s, bootstrap %.1f s, %.2fx\n", a, b, b / a }'
}
