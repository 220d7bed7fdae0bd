# SECONDS COMMAND...: tries it once a second until it succeeds; fails where it never does.
wait_until() {
  left=$1
  shift
  until "$@"; do
    left=$((left - 1))
    [ "$left" -gt 0 ] || return 1
    sleep 1
  done
}
