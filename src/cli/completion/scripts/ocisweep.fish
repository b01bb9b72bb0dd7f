# Completion of `ocisweep` in fish. The candidates are those of the program.

function __ocisweep_complete
    set --local before (commandline --current-process --tokenize --cut-at-cursor)
    set --local word (commandline --current-token --cut-at-cursor)
    command ocisweep __complete fish $before "$word" 2>/dev/null </dev/null
end

complete -c ocisweep --keep-order --no-files --arguments '(__ocisweep_complete)'
