case $1 in
  check)
    openssl x509 -checkend $(($2 * 86400)) -noout -in "$4.crt" >/dev/null 2>&1 &&
      openssl verify -CAfile "$3.crt" "$4.crt" >/dev/null 2>&1
    ;;
  sign)
    authority=$2 place=$3 owner=$7
    umask 077
    fresh=$(mktemp -d "$place.XXXXXX")
    trap 'rm -rf "$fresh"' EXIT
    printf 'basicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature,keyEncipherment\nextendedKeyUsage=%s\n' "$5" >"$fresh/extensions"
    [ -z "$6" ] || printf 'subjectAltName=%s\n' "$6" >>"$fresh/extensions"
    {
      openssl req -new -newkey rsa:2048 -nodes -keyout "$fresh/key" -subj "$4" -out "$fresh/request"
      openssl x509 -req -in "$fresh/request" -CA "$authority.crt" -CAkey "$authority.key" -days 365 \
        -set_serial "0x$(openssl rand -hex 16)" -extfile "$fresh/extensions" -out "$fresh/crt"
    } >"$fresh/said" 2>&1 || { cat "$fresh/said" >&2; exit 1; }
    chmod 644 "$fresh/crt"
    chown "$owner" "$fresh/crt" "$fresh/key"
    flush "$fresh/crt" "$fresh/key"
    # A key beside the certificate of another would be taken for good: after a power cut there is none, and both are made anew.
    rm -f "$place.crt"
    mv "$fresh/key" "$place.key"
    mv "$fresh/crt" "$place.crt"
    ;;
esac
