# For a script of a member of etcd: `name` is the member's and `own` its peer URL, `others` are the client URLs of those who are
# asked, by its `etcdctl ENDPOINTS WORD...`.
# shellcheck disable=SC2154  # They are the script's own.

# The lines of all members, as the others have them: id, status, name, peer URL, client URL, whether it learns.
members() {
  etcdctl "$others" member list --write-out simple
}

# Reads such lines: the `id`, `status` or `learns` of this member.
own() {
  sed 's/, /,/g' | while IFS=, read -r id status _ url _ learns; do
    if [ "$url" = "$own" ]; then
      case $1 in
        id) echo "$id" ;;
        status) echo "$status" ;;
        learns) echo "$learns" ;;
      esac
    fi
  done
}

# WORD...: has the others change their members. They wait until the member before this has been there for some seconds.
change() {
  until_then=$(($(date +%s) + 120))
  until said=$(etcdctl "$others" member "$@" 2>&1); do
    [ "$(date +%s)" -lt "$until_then" ] || { echo "$said" >&2; return 1; }
    sleep 1
  done
}

# Has the others take this member in as a learner; prints all members as etcd wants to be told them at its first start.
be_added() {
  known=$(members)
  # It was a member once, and what it kept is lost: a member with no memory may not vote.
  if [ "$(echo "$known" | own status)" = started ]; then
    change remove "$(echo "$known" | own id)" >&2
    known=$(members)
  fi
  if [ -z "$(echo "$known" | own id)" ]; then
    change add "$name" --learner --peer-urls "$own" >&2
    known=$(members)
  fi
  echo "$known" | sed 's/, /,/g' | while IFS=, read -r _ _ called url _; do
    [ "$url" != "$own" ] || called=$name
    printf '%s%s=%s' "$comma" "$called" "$url"
    comma=,
  done
}

# Has the others give this member a vote, as soon as it has caught up.
be_promoted() {
  if [ "$(members | own learns)" != false ]; then change promote "$(members | own id)"; fi
}

# FOLDER: what it kept is out of its reach, and not lost.
set_aside() {
  [ ! -e "$1" ] || mv "$1" "$1.left-$(date -u +%Y%m%dT%H%M%SZ)"
}
