# bash completion for policyctl; made by "policyctl completion bash".

_policyctl() {
    local line=${COMP_LINE:0:COMP_POINT} rest word piece="" i
    local -a words=()
    # bash splits words at : = and @. Join them again.
    rest=$line
    for ((i = 0; i <= COMP_CWORD; i++)); do
        word=${COMP_WORDS[i]}
        local trimmed=${rest#"${rest%%[![:space:]]*}"}
        [[ $trimmed == "$word"* ]] || word=$trimmed
        if [[ $i -gt 0 && $trimmed == "$rest" && -n $word ]]; then
            words[${#words[@]} - 1]+=$word
        elif [[ $i -eq 0 || $trimmed != "$rest" ]]; then
            words+=("$word")
        fi
        rest=${trimmed#"$word"}
        piece=$word
    done
    local typed=${words[${#words[@]} - 1]}
    [[ $piece == [:=@] ]] && piece=""
    local before=${typed%"$piece"}
    COMPREPLY=()
    local candidate files=""
    while IFS= read -r candidate; do
        if [[ $candidate == :files ]]; then
            files=1
            continue
        fi
        candidate=${candidate%%$'\t'*}
        COMPREPLY+=("${candidate#"$before"}")
    done < <("${words[0]}" __complete -- "${words[@]:1}" 2>/dev/null)
    if [[ -n $files ]]; then
        compopt -o filenames 2>/dev/null
        while IFS= read -r candidate; do
            COMPREPLY+=("$candidate")
        done < <(compgen -f -- "$piece")
    fi
}
complete -F _policyctl policyctl
