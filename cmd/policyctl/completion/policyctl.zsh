#compdef policyctl
# zsh completion for policyctl; made by "policyctl completion zsh".

_policyctl() {
    local line files
    local -a names shown
    while IFS= read -r line; do
        if [[ $line == :files ]]; then
            files=1
            continue
        fi
        names+=("${line%%$'\t'*}")
        shown+=("${line/$'\t'/  -- }")
    done < <("${words[1]}" __complete -- "${(@)words[2,CURRENT]}" 2>/dev/null)
    (( $#names )) && compadd -l -d shown -a names
    [[ -n $files ]] && _files
    return 0
}
if [[ $funcstack[1] == _policyctl ]]; then
    _policyctl
else
    compdef _policyctl policyctl
fi
