# NAME...: the numbers of the processes whose programs have one of these names, of which the kernel keeps 15 letters.
processes() {
  for comm in /proc/[0-9]*/comm; do
    # One may end meanwhile.
    read -r program 2>/dev/null <"$comm" || continue
    case " $* " in
      *" $program "*)
        process=${comm%/comm}
        echo "${process#/proc/}"
        ;;
    esac
  done
}
