# fish completion for policyctl; made by "policyctl completion fish".

function __policyctl_complete
    set -l tokens (commandline -opc)
    set -l typed (commandline -ct)
    for line in ($tokens[1] __complete -- $tokens[2..-1] "$typed" 2>/dev/null)
        if test "$line" = ":files"
            __fish_complete_path "$typed"
        else
            echo $line
        end
    end
end
complete -c policyctl -f -a '(__policyctl_complete)'
