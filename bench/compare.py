"""Times whole commands, interleaved, and prints medians and ratios."""

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

DUCKDB = """
import sys, duckdb
duckdb.sql(f'''
  select date_trunc('hour', try_cast(timestamp as timestamp)) as hour, modelId, count(*) as calls,
         sum(input.inputTokenCount) as input_tokens, sum(output.outputTokenCount) as output_tokens
  from read_json('{sys.argv[1]}/**/*.gz', format='newline_delimited', ignore_errors=true, union_by_name=true,
       maximum_object_size=67108864,
       columns={{timestamp:'VARCHAR', requestId:'VARCHAR', modelId:'VARCHAR', input:'STRUCT(inputTokenCount BIGINT)', output:'STRUCT(outputTokenCount BIGINT)'}})
  group by 1, 2
''').fetchall()
"""

CHDB = """
import sys, chdb
chdb.query(f'''
  select toStartOfHour(parseDateTimeBestEffortOrNull(JSONExtractString(line, 'timestamp'))) as hour, JSONExtractString(line, 'modelId') as model,
         count() as calls, sum(JSONExtractUInt(line, 'input', 'inputTokenCount')) as i, sum(JSONExtractUInt(line, 'output', 'outputTokenCount')) as o
  from file('{sys.argv[1]}/**/*.gz', 'LineAsString', 'line String') where isValidJSON(line)
  group by 1, 2
''', 'CSV')
"""

FLOOR = """
import sys, pathlib, concurrent.futures, deflate
def inflate(path):
    return len(deflate.gzip_decompress(path.read_bytes()))
with concurrent.futures.ThreadPoolExecutor() as pool:
    print(sum(pool.map(inflate, sorted(pathlib.Path(sys.argv[1]).rglob('*.gz')))))
"""


def timed(command):
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    begun = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    _, error = process.communicate()
    seconds = time.monotonic() - begun
    if process.returncode != 0:
        sys.exit(f"{command[0]} failed: {error.decode()[-2000:]}")
    del before
    return seconds


def peak(command):
    """Peak memory in MiB of one run, from a child of its own so that other runs do not count."""
    code = "import resource,subprocess,sys; subprocess.run(sys.argv[1:],stdout=subprocess.DEVNULL,stderr=subprocess.DEVNULL,check=True); print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    return int(subprocess.check_output([sys.executable, "-c", code, *command])) / 1024


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--bin", required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    results = {}
    goals = {"meta": (1.5, 2.5), "agent": (1.4, 2.0), "long": (1.8, 2.0)}
    for name, (least, aim) in goals.items():
        logs = str(args.data / name)
        scratch = Path(tempfile.mkdtemp(prefix="sluice-bench-"))

        def sluice():
            lake = scratch / "lake"
            shutil.rmtree(lake, ignore_errors=True)
            return [args.bin, "replay", logs, "--lake", str(lake), "--format", "json"]

        commands = {
            "sluice": sluice,
            "duckdb": lambda: [sys.executable, "-c", DUCKDB, logs],
            "chdb": lambda: [sys.executable, "-c", CHDB, logs],
            "floor": lambda: [sys.executable, "-c", FLOOR, logs],
        }
        times = {tool: [] for tool in commands}
        for tool, command in commands.items():
            timed(command())
        for _ in range(args.runs):
            for tool, command in commands.items():
                times[tool].append(timed(command()))
        medians = {tool: statistics.median(values) for tool, values in times.items()}
        memory = peak(sluice())
        shutil.rmtree(scratch, ignore_errors=True)
        ratio = min(medians["duckdb"], medians["chdb"]) / medians["sluice"]
        results[name] = {"medians_s": medians, "ratio": ratio, "least": least, "aim": aim, "sluice_peak_mib": memory}
        shown = "  ".join(f"{tool} {medians[tool]:.2f} s ({min(times[tool]):.2f}-{max(times[tool]):.2f})" for tool in commands)
        verdict = "aim reached" if ratio >= aim else "reached" if ratio >= least else "NOT reached"
        print(f"{name:6} {shown}  ratio to the faster peer {ratio:.2f} (least {least}, aim {aim}): {verdict}  peak {memory:.0f} MiB", flush=True)
    if args.json:
        args.json.write_text(json.dumps(results, indent=2))


if __name__ == "__main__":
    os.environ.setdefault("PYTHONDONTWRITEBYTECODE", "1")
    main()
