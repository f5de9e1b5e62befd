# parts.sh: a run of several parts, each of which ends in lines that count.
# Sourced.
#
# 77 is what a part returns that could not begin here: 2 would be what make and bash
# return for anything.

parts_dir=$(mktemp -d)
trap 'rm -rf "$parts_dir"' EXIT
parts=() parts_beside=()
parts_start=$SECONDS

# Run a part, and show what it writes.  Its last line that counts goes into the sum.
# A part that has none, or ends badly without a failure, has failed.
part()
{
	local name=$1
	shift
	echo "=== $name"
	run_part "$name" "$@" | tee "$parts_dir/shown"
	note_part "$name" "$parts_dir/shown"
}

# Run a part beside those that follow, until wait_parts.
part_beside()
{
	local name=$1
	shift
	run_part "$name" "$@" >"$parts_dir/beside.$name" &
	parts_beside+=("$name" "$!")
}

# Wait for the parts that run beside others, and show what they have written.
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

# A part's own lines, and after them the status and how long it took.
run_part()
{
	local name=$1 start=$SECONDS status=0
	shift
	"$@" 2>&1 || status=$?
	echo "$status $((SECONDS - start))" >"$parts_dir/status.$name"
}

# Add what a part has counted.
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

# Say how each part went and how long it took, and close with the sum; false when
# something has failed, or nothing was tested.
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

# A command that writes TAP, counted.
count_tap_of()
{
	local out status=0
	out=$("$@" 2>&1) || status=$?
	grep -v '^ok' <<<"$out"
	echo "$(grep -c '^ok' <<<"$out") passed, $(grep -c '^not ok' <<<"$out") failed, 0 skipped"
	return $status
}

# A command whose status says it all.
count_status_of()
{
	local status=0
	"$@" || status=$?
	[ $status = 0 ] && echo '1 passed, 0 failed, 0 skipped' || echo '0 passed, 1 failed, 0 skipped'
	return $status
}
