# One command beside those that follow, for machines of two cores. Sourced by scripts with `set -e`, which end if it fails.

# beside FILE COMMAND...: starts it in a process group of its own; what it writes goes to FILE.
beside() {
  other_output="$1"
  shift
  set -m
  "$@" >"$other_output" 2>&1 </dev/null &
  other=$!
  set +m
}

# Waits for the command, shows what it has written and returns its exit code.
join_beside() {
  local code=0
  wait "$other" || code=$?
  other=
  cat "$other_output"
  return "$code"
}

# Ends the command with its processes if it still runs: for a script that ends before it has joined.
end_beside() {
  [ -z "${other:-}" ] || { kill -- "-$other" && wait "$other"; } 2>/dev/null || true
}
