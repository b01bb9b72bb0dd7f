# Completion of `ocisweep` in bash 4 or later; before 4.4 it sorts the candidates. The candidates are those of the program.

_ocisweep() {
    local lines
    mapfile -t lines < <(command ocisweep __complete bash \
        "${COMP_LINE:0:COMP_POINT}" "$2" "${COMP_TYPE-}" "${COLUMNS:-80}" "${COMP_LINE:COMP_POINT}" 2> /dev/null < /dev/null)
    COMPREPLY=("${lines[@]:1}")
    if [[ ${lines[0]-} == nospace ]]; then
        compopt -o nospace
    fi
}

complete -o nosort -o bashdefault -F _ocisweep ocisweep 2> /dev/null ||
    complete -o bashdefault -F _ocisweep ocisweep
