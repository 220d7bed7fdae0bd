# Written by bootstrap. Reads Consul's catalog of services, `{"web": ["urlprefix-/web", "v2"]}`, and prints `service NAME` for each that has
# a route among its tags, and `wrong …` for each tag that fabio leaves out, or takes for something else than it says.
#   prefix     how the tags begin that are routes
#   listeners  what there is: `http:9999 tcp:1234`
# What is marked as `blocking` makes fabio refuse its whole new table of routes: it serves on with the old one, and learns of no instance
# any more that comes or goes.

BEGIN {
  count = split(listeners, words, " ")
  for (i = 1; i <= count; i++) {
    split(words[i], one, ":")
    there[one[1]]
    there[one[1] ":" one[2]]
  }
  count = split("allow auth deny grpcservername host prepend proto pxyproto redirect register strip tlsskipverify weight", words, " ")
  for (i = 1; i <= count; i++) option_known[words[i]]
  blocking = "; until it is right fabio takes no change of any route"
}

{ text = text $0 }

END {
  count = split(text, part, "\"")
  # Every second part is within quotes; what follows it tells names from tags.
  for (i = 2; i <= count; i += 2) {
    word = part[i]
    while (word ~ /(^|[^\\])(\\\\)*\\$/ && i < count) word = word "\"" part[++i]
    word = plain(word)
    if (part[i + 1] ~ /^ *:/) {
      end_service()
      service = word
    } else judge(word)
  }
  end_service()
}

# WORD: without the escapes of JSON.
function plain(word,   out, c) {
  out = ""
  while (match(word, /\\./)) {
    out = out substr(word, 1, RSTART - 1)
    c = substr(word, RSTART + 1, 1)
    word = substr(word, RSTART + 2)
    if (c == "u") {
      c = tolower(substr(word, 1, 4))
      word = substr(word, 5)
      c = c == "0026" ? "&" : c == "003c" ? "<" : c == "003e" ? ">" : c == "0027" ? "'" : "?"
    } else if (c ~ /[bfnrt]/) c = " "
    out = out c
  }
  return out word
}

function wrong(tag, why) { print "wrong " service ": `" tag "`: " why }

# What a service is as a whole, once all its tags are known.
function end_service() {
  if (service != "" && has_route) {
    if (service ~ /[ \t]/) print "wrong " service ": a name with a blank" blocking
    else if (service ~ /^[A-Za-z0-9._-]+$/) print "service " service
    if (quoted != "") wrong(quoted, "a tag with quotes, beside one that is a route" blocking)
  }
  has_route = 0
  quoted = ""
}

function judge(tag,   source, rest, words, count, i, proto) {
  gsub(/^[ \t]+|[ \t]+$/, "", tag)
  if (substr(tag, 1, length(prefix)) != prefix) {
    if (tag ~ /"/) quoted = tag
    return
  }
  has_route = 1
  if (tag ~ /"/) return wrong(tag, "it has quotes" blocking)
  rest = substr(tag, length(prefix) + 1)
  gsub(/^[ \t]+/, "", rest)
  count = split(rest, words, /[ \t]+/)
  source = words[1]
  if (source == "") return wrong(tag, "it names neither a host nor a path" blocking)
  if (brackets(source)) return wrong(tag, "a bracket in it is not closed" blocking)
  proto = ""
  delete_options()
  for (i = 2; i <= count; i++) {
    if (words[i] ~ /^proto=/) proto = substr(words[i], 7)
    judge_option(tag, words[i])
  }
  if ("allow" in option_of && "deny" in option_of) wrong(tag, "`allow` and `deny` together: neither counts, and everybody is let in")
  judge_source(tag, source, proto)
}

# Whether a pattern of hosts or paths opens more than it closes.
function brackets(source,   opened, closed, rest) {
  rest = source
  opened = gsub(/[[{]/, "", rest)
  closed = gsub(/[]}]/, "", rest)
  return opened != closed
}

function delete_options(   name) { for (name in option_of) delete option_of[name] }

function judge_option(tag, option,   at, name, value, items, count, i) {
  at = index(option, "=")
  name = at ? substr(option, 1, at - 1) : option
  value = at ? substr(option, at + 1) : ""
  option_of[name] = value
  if (!(name in option_known)) wrong(tag, "fabio knows no option `" name "`")
  else if (name == "proto") {
    if (value == "tcp+sni") wrong(tag, "`tcp+sni` is what a listener is of: a service says `proto=tcp`")
    else if (value !~ /^(tcp|http|https|grpc|grpcs)$/) wrong(tag, "fabio knows no `proto=" value "`")
  } else if (name == "weight") {
    if (value != "" && value !~ /^[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)$/) wrong(tag, "`weight` is a number such as 0.1" blocking)
  } else if (name == "redirect") {
    if (value !~ /^3[0-9][0-9],[a-z]+:\/\/[^,]+$/) wrong(tag, "`redirect` is CODE,URL, with a code from 300 to 399")
  } else if (name == "allow" || name == "deny") {
    count = split(value, items, ",")
    if (!count) wrong(tag, "`" name "` names no address")
    for (i = 1; i <= count; i++)
      if (items[i] !~ /^ip:([0-9]+\.[0-9]+\.[0-9]+\.[0-9]+|[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*)(\/[0-9]+)?$/) {
        wrong(tag, "`" name "` is a list of `ip:ADDRESS` with commas between them: `" items[i] "` counts for nothing")
        break
      }
  } else if (name == "strip" || name == "prepend") {
    if (value !~ /^\//) wrong(tag, "`" name "` begins with a slash")
  } else if (name == "tlsskipverify" || name == "pxyproto") {
    if (value != "true" && value != "false") wrong(tag, "`" name "` counts as `true` alone")
  } else if (value == "") wrong(tag, "`" name "` has no value")
}

function judge_source(tag, source, proto,   port, others) {
  if (source ~ /^:/) {
    port = substr(source, 2)
    if (port !~ /^[0-9]+$/ || port + 0 < 1 || port + 0 > 65535) return wrong(tag, "`" source "` is no port: `:PORT proto=tcp`")
    port += 0
    if (!("tcp:" port in there)) return wrong(tag, "there is no listener of tcp at port " port)
    if (!(port in wanted)) wanted[port] = service
    else if (wanted[port] != service)
      wrong(tag, wanted[port] " wants port " port " too: each gets connections of the other")
    return
  }
  if (source ~ /^[0-9]+$/) return wrong(tag, "a port stands behind a colon: `:" source " proto=tcp`")
  if (proto == "tcp") {
    if (!("tcp+sni" in there)) wrong(tag, "there is no listener of tcp+sni; a listener of tcp serves `:PORT`")
    else if (source !~ /^[^\/]+\/?$/) wrong(tag, "TLS that is passed through has a name and no path: `NAME/ proto=tcp`")
  } else if (proto ~ /^grpc/) wrong(tag, "there is no listener of grpc")
  else if (!("http" in there) && !("https" in there) && !("tcp+sni" in there)) wrong(tag, "there is no listener of http or https")
}
