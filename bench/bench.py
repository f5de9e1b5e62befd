#!/usr/bin/python3
"""make bench: counts the measures of measures.py under callgrind, times them
without it, and compares the rows of bench/rows with their bars.  Called by bench/run.

	bench.py [SESSION ...]

measures only these sessions, and checks the rows that need no others."""
import collections
import concurrent.futures
import json
import os
import re
import shlex
import shutil
import subprocess
import sys

import fixture
import measures

HERE = os.path.dirname(os.path.abspath(__file__))
OUT = os.environ["BENCH_OUT"]           # for results and profiles
RUN = os.environ["BENCH_RUN"]           # a folder of the server's user, with the databases
FLOOR = os.environ["BENCH_FLOOR"]       # the program; its files lie beside it
POSTGRES = os.environ["BENCH_POSTGRES"]
AS_SERVER_USER = shlex.split(os.environ["BENCH_AS_SERVER_USER"])

# Without callgrind: number of runs of a session, and number of repetitions of each
# measure in it. The minimum counts.
PROCESSES = 2
ROUNDS = 10

# Statistics are sent once a second, so their cost would depend on the load of the machine.
SETTINGS = {"exit_on_error": "on", "jit": "off", "max_parallel_workers_per_gather": 0, "track_counts": "off"}

# Runs before and after each part. It prints the time, and callgrind starts a new count
# when clock_timestamp(), or mark() of floor.c, is called.
MARK = "SELECT extract(epoch FROM clock_timestamp())"
TIME = re.compile(r"\b\d{10}\.\d{6}\b")

Row = collections.namedtuple("Row", "what unit value bar target note")


def times_taken(measure, rounds):
    """How often a session repeats a measure. The first statement of a backend cannot
    be repeated."""
    return rounds if measure.repeats else 1


def script_of(session, rounds):
    """The statements of a session; each part of each measure is between two marks."""
    yield from session.before
    for measure in session.measures:
        yield from measure.before
        for _ in range(times_taken(measure, rounds)):
            for part in measure.parts:
                yield from (*part.before, MARK, *part.sql, MARK)


def run(session, data, rounds, *tool):
    """Run a session, under a tool or not; returns the times that it prints."""
    if session.database is None:
        command = [FLOOR, os.path.dirname(FLOOR), str(rounds)]
        command += [str(word) for name, lengths in measures.FLOOR.items() for word in (name, *lengths)]
    else:
        settings = {**SETTINGS, **session.settings}
        command = [POSTGRES, "--single", "-j", "-D", data, *(f"-c{name}={value}" for name, value in settings.items()), session.database]
    # random addresses and the environment would change the counts
    done = subprocess.run([*AS_SERVER_USER, "env", "-i", "LC_ALL=C", "TZ=UTC", "PATH=/usr/bin:/bin", "setarch", "-R", *tool, *command],
                          input="".join(statement + ";\n\n" for statement in script_of(session, rounds)),
                          text=True, cwd=RUN, capture_output=True)
    times = [float(t) for t in TIME.findall(done.stdout)]
    if done.returncode != 0 or len(times) != 2 * sum(len(measure.parts) * times_taken(measure, rounds) for measure in session.measures):
        sys.exit(f"bench: session {session.name} failed:\n{done.stderr[-3000:]}")
    return times


def copy_data(session, oids, to):
    """A copy of the server's folder with only the session's database."""
    others = " ".join(f"--exclude=./base/{oid}" for name, oid in oids.items() if name != session.database)
    subprocess.run([*AS_SERVER_USER, "sh", "-c", f"mkdir -m 700 '{to}' && tar -C data -cf - {others} . | tar -C '{to}' -xf -"],
                   cwd=RUN, check=True)


def counted(session, oids):
    """The number of instructions of each part of a session. The profile of the last
    part of each measure is kept in the folder callgrind."""
    # two standalone backends cannot share a data directory
    data, out = (os.path.join(RUN, f"{what}.{session.name}") for what in ("data", "callgrind"))
    if session.database is not None:
        copy_data(session, oids, data)
    run(session, data, 1, "valgrind", "--tool=callgrind", "--quiet", f"--callgrind-out-file={out}",
        f"--dump-before={'mark' if session.database is None else 'clock_timestamp'}")
    shutil.rmtree(data, ignore_errors=True)
    counts = []
    for measure in session.measures:
        for _ in measure.parts:
            # every second file is for the time before a part
            name = f"{out}.{2 * len(counts) + 2}"
            with open(name, encoding="utf-8") as file:
                counts.append(int(re.search(r"^totals: (\d+)", file.read(), re.M)[1]))
        shutil.copy(name, os.path.join(OUT, "callgrind", measure.name))
    return counts


def timed(session):
    """The nanoseconds of each part of a session."""
    times = run(session, os.path.join(RUN, "data"), ROUNDS)
    return [(end - start) * 1e9 for start, end in zip(times[::2], times[1::2])]


def values(sessions, rounds):
    """The value of each measure: the weighted sum of the minimum of each of its parts.
    sessions are pairs of a session and its parts."""
    seen = collections.defaultdict(list)
    weights = {}
    for session, parts in sessions:
        parts = iter(parts)
        for measure in session.measures:
            weights[measure.name] = [part.weight for part in measure.parts]
            for _ in range(times_taken(measure, rounds)):
                seen[measure.name].append([next(parts) for _ in measure.parts])
    return {name: sum(weight * min(column) for weight, column in zip(weights[name], zip(*rows))) for name, rows in seen.items()}


def platform():
    """The platform, on which absolute counts depend."""
    def version(name, pattern, *command):
        output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        return f"{name} {re.search(pattern, output)[0]}"

    return ", ".join((version("PostgreSQL", r"\d+", POSTGRES, "--version"), version("OpenSSL", r"\d+\.\d+", "openssl", "version"),
                      version("gcc", r"\d+", os.environ.get("CC", "gcc"), "-dumpversion")))


def processor():
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        return re.search(r"model name\s*: (.*)|$", file.read())[1]


def read_rows(measured):
    """The platform of absolute counts, and the rows whose measures are complete."""
    with open(os.path.join(HERE, "rows"), encoding="utf-8") as file:
        lines = [[cell.strip() for cell in line.split("|")] for line in file if line.strip() and line[0] != "#"]
    rows = [Row(*line) for line in lines[1:]]
    return lines[0][0], [row for row in rows if len(sys.argv) == 1 or set(re.findall(r"[a-z]\w+", row.value)) <= measured.keys()]


def check(row, counts, times, comparable):
    """The text of a row, and its verdict."""
    value, time = (eval(row.value, {}, measured) for measured in (counts, times))
    if row.bar == "-":
        verdict = ""
    elif row.unit != "x" and not comparable:
        verdict = "not tested"
    else:
        verdict = "ok" if value <= float(row.bar) else "MISSED"
    return {**row._asdict(), "counted": value, "timed": time, "verdict": verdict}


def main():
    tokens = fixture.Tokens()
    fixture.write_for_floor(tokens, os.path.dirname(FLOOR))
    oids = fixture.make_databases(tokens)
    subprocess.run([*AS_SERVER_USER, "pg_ctl", "-D", os.path.join(RUN, "data"), "-m", "fast", "-w", "stop"],
                   check=True, stdout=subprocess.DEVNULL, cwd=RUN)

    sessions = [*measures.sessions(tokens, json.dumps(tokens.claims))]
    if len(sys.argv) > 1:
        sessions = [session for session in sessions if session.name in sys.argv[1:]] or sys.exit("bench: there is no such session")
    os.makedirs(os.path.join(OUT, "callgrind"))
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        counts = values(zip(sessions, pool.map(lambda session: counted(session, oids), sessions)), 1)
    times = values(((session, timed(session)) for session in sessions * PROCESSES), ROUNDS)

    of_table, rows = read_rows(counts)
    here = platform()
    print(f"{'':52s}{'counted':>9s}{'at most':>9s}{'target':>9s}{'timed, noisy':>15s}")
    found = []
    for row in rows:
        found.append(check(row, counts, times, here == of_table))
        value, time = ((f"{found[-1][column]:.3f}" if row.unit == "x" else f"{found[-1][column]:.0f}") for column in ("counted", "timed"))
        print(f"{row.what:52s}{value:>9s}{row.bar:>9s}{row.target:>9s}{time + ('' if row.unit == 'x' else ' ns'):>15s}  {found[-1]['verdict']}")
    with open(os.path.join(OUT, "results.json"), "w", encoding="utf-8") as file:
        json.dump({"platform": here, "processor": processor(), "rows": found, "counts": counts, "times": times}, file, indent=1)
    verdicts = [row["verdict"] for row in found]
    print(f"{verdicts.count('ok')} passed, {verdicts.count('MISSED')} failed, {verdicts.count('not tested')} skipped")
    sys.exit("MISSED" in verdicts)


main()
