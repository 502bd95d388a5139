#!/usr/bin/env python3
"""Counts the results in Meson's logs: every TAP line, or the whole program where there is none.

    count_tests.py [--failed-builds N] LOG.json ...
Prints "N passed, N failed, N skipped"; exits 1 if anything failed or nothing ran.
"""
import argparse
import json
import re
import sys

TAP = re.compile(r"^(not )?ok\b(?:\s+\d+)?[^#\n]*(#\s*skip\b.*)?", re.IGNORECASE | re.MULTILINE)


def count(test):
    passed = failed = skipped = 0
    for bad, skip in TAP.findall(test.get("stdout", "")):
        if skip:
            skipped += 1
        elif bad:
            failed += 1
        else:
            passed += 1
    good = test["result"] in ("OK", "EXPECTEDFAIL")
    if test["result"] == "SKIP" and not failed:
        return passed, 0, max(skipped, 1)
    if not good:  # a crash, a time-out, a plan that was not kept
        failed = max(failed, 1)
    elif not passed + skipped:
        passed = 1
    return passed, failed, skipped


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--failed-builds", type=int, default=0)
    parser.add_argument("logs", nargs="+")
    options = parser.parse_args()
    totals = [0, options.failed_builds, 0]
    for path in options.logs:
        with open(path) as file:
            for line in file:
                test = json.loads(line)
                result = count(test)
                totals = [a + b for a, b in zip(totals, result)]
                if result[1]:
                    print(f"failed: {test['name']} ({test['result']})")
                for _, skip in TAP.findall(test.get("stdout", "")):
                    if skip:
                        print(f"skipped: {test['name']}: {skip.lstrip('# ')}")
    passed, failed, skipped = totals
    print(f"{passed} passed, {failed} failed" + (f", {skipped} skipped" if skipped else ""))
    sys.exit(1 if failed or not passed else 0)


if __name__ == "__main__":
    main()
