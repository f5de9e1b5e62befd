# parts.sh: a run of several parts, each of which prints counts at its end. Sourced.
#
# A part that cannot run here returns 77. 2 would be ambiguous, because make and bash
# return it, too.

parts_dir=$(mktemp -d)
trap 'rm -rf "$parts_dir"' EXIT
parts=() parts_beside=()
parts_start=$SECONDS

# Run a part, and show its output. Its last line with counts is added to the sum. A part
# without such a line, or with an error status and no failure, has failed.
part()
{
	local name=$1
	shift
	echo "=== $name"
	run_part "$name" "$@" | tee "$parts_dir/shown"
	note_part "$name" "$parts_dir/shown"
}

# Run a part in parallel with the following ones, until wait_parts.
part_beside()
{
	local name=$1
	shift
	run_part "$name" "$@" >"$parts_dir/beside.$name" &
	parts_beside+=("$name" "$!")
}

# Wait for the parallel parts, and show their output.
wait_parts()
{
	local name pid
	while [ ${#parts_beside[@]} != 0 ]; do
		name=${parts_beside[0]} pid=${parts_beside[1]}
		parts_beside=("${parts_beside[@]:2}")
		wait "$pid"
		echo "=== $name"
		cat "$parts_dir/beside.$name"
		note_part "$name" "$parts_dir/beside.$name"
	done
}

# Run a part, and append its status and its time to its output.
run_part()
{
	local name=$1 start=$SECONDS status=0
	shift
	"$@" 2>&1 || status=$?
	echo "$status $((SECONDS - start))" >"$parts_dir/status.$name"
}

# Add the counts of a part.
note_part()
{
	local name=$1 shown=$2 status seconds counts
	read -r status seconds <"$parts_dir/status.$name"
	counts=$(grep -E '^[0-9]+ passed, [0-9]+ failed, [0-9]+ skipped$' "$shown" | tail -n 1 | awk '{ print $1, $3, $5 }')
	if [ -z "$counts" ] && [ "$status" = 77 ]; then
		echo "$name cannot run here, and is skipped"
		counts='0 0 1'
	elif [ -z "$counts" ] || { [ "$status" != 0 ] && [[ $counts == *' 0 '* ]]; }; then
		echo "$name ended with status $status"
		counts="${counts:-0 0 0}"
		counts=$(awk '{ print $1, $2 + 1, $3 }' <<<"$counts")
	fi
	parts+=("$counts $seconds $name")
}

# Print the result and the time of each part, and the sum. Returns false if a part has
# failed, or nothing was tested.
end_parts()
{
	wait_parts
	echo
	printf '%s\n' "${parts[@]}" | awk '{
		name = $0
		for (i = 0; i < 4; i++)
			sub(/^[0-9]+ /, "", name)
		printf "%-24s %5d passed, %d failed, %d skipped in %d:%02d\n", name, $1, $2, $3, $4 / 60, $4 % 60
	}'
	printf '%-24s %d:%02d\n\n' 'in all' $(((SECONDS - parts_start) / 60)) $(((SECONDS - parts_start) % 60))
	printf '%s\n' "${parts[@]}" |
		awk '{ p += $1; f += $2; s += $3 } END { printf "%d passed, %d failed, %d skipped\n", p, f, s; exit f > 0 || p == 0 }'
}

# Run a command that writes TAP, and count its results.
count_tap_of()
{
	local out status=0
	out=$("$@" 2>&1) || status=$?
	grep -v '^ok' <<<"$out"
	echo "$(grep -c '^ok' <<<"$out") passed, $(grep -c '^not ok' <<<"$out") failed, 0 skipped"
	return $status
}

# Run a command whose status is its only result.
count_status_of()
{
	local status=0
	"$@" || status=$?
	[ $status = 0 ] && echo '1 passed, 0 failed, 0 skipped' || echo '0 passed, 1 failed, 0 skipped'
	return $status
}
