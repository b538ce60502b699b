"""Completion of the program in a shell: command names, and what Hydra's own completion knows of a command's options."""

from collections.abc import Iterable

# Hydra's own script would take the command for an option.
_BASH = r"""_lmsteer() {
    local line=${COMP_LINE:0:COMP_POINT} program name options choice choices=()
    local word=${line##* }
    local kept=${word%"${word##*[$COMP_WORDBREAKS]}"}  # bash replaces what follows, for instance, a "="
    read -r program name options <<< "$line"
    if [[ -z $name || $line == *"$name" && -z $options ]]; then
        choices=(COMMANDS)
        compopt +o nospace 2> /dev/null
    else
        line="lmsteer ${line#"$program"*"$name"}"
        read -ra choices < <(COMP_LINE=$line "$program" "$name" -sc query=bash 2> /dev/null)
    fi
    COMPREPLY=()
    for choice in "${choices[@]}"; do
        [[ $choice == "$word"* ]] && COMPREPLY+=("${choice#"$kept"}")
    done
}
complete -o nospace -o default -F _lmsteer lmsteer"""


def bash_completion(commands: Iterable[str]) -> str:
    """Return the script that completes ``lmsteer`` and the names and options of commands in bash."""
    return _BASH.replace("COMMANDS", " ".join(commands))
