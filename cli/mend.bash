# mend.bash - bash's completion of mend, the command line: commands, options, files.
# What there is it asks of mend itself, so that it is never out of date.

_mend() {
    local word=${COMP_WORDS[COMP_CWORD]} option=${COMP_WORDS[COMP_CWORD - 1]} command='' i
    COMPREPLY=()

    if [ "$word" = = ]; then
        word=
    elif [ "$option" = = ]; then
        option=${COMP_WORDS[COMP_CWORD - 2]}
    fi
    case $option in
        --distribution | -d)
            mapfile -t COMPREPLY < <(compgen -W 'ketama-weighted ketama consistent-md5 modula crc32' -- "$word")
            return ;;
        --config | -c | --output | -o | --picture | -P)
            compopt -o filenames
            mapfile -t COMPREPLY < <(compgen -f -- "$word")
            return ;;
    esac

    for ((i = 1; i < COMP_CWORD; i++)); do
        case ${COMP_WORDS[i]} in
            --servers | --config | --timeout | --distribution | -[scwd]) # and its value
                ((i++))
                [ "${COMP_WORDS[i]}" != = ] || ((i++)) ;;
            -*) ;;
            *) command=${COMP_WORDS[i]}; break ;;
        esac
    done

    if [[ $word == -* ]]; then
        mapfile -t COMPREPLY < <(compgen -W "$(mend help $command 2>/dev/null | sed -n 's/^  -., \(--[a-z]*\).*/\1/p')" -- "$word")
    elif [ -z "$command" ] || [ "$command" = help ]; then
        mapfile -t COMPREPLY < <(compgen -W "help $(mend help 2>/dev/null | sed -n 's/^  \([a-z][a-z]*\) .*/\1/p')" -- "$word")
    elif [ "$command" = restore ]; then
        compopt -o filenames
        mapfile -t COMPREPLY < <(compgen -f -- "$word")
    elif [ "$command" = stats ]; then
        mapfile -t COMPREPLY < <(compgen -W 'settings items slabs sizes conns' -- "$word")
    fi
}
complete -F _mend mend
