"""Meetings of one day. Times are minutes since midnight."""


def busy(meetings):
    """Merge meetings that overlap or touch; returns [start, end] pairs in order."""
    blocks = []
    for start, end in sorted(meetings):
        if blocks and start <= blocks[-1][1]:
            blocks[-1][1] = end
        else:
            blocks.append([start, end])
    return blocks


def free(meetings, opens, closes):
    """Gaps between opening and closing time in which there is no meeting."""
    gaps = []
    time = opens
    for start, end in busy(meetings):
        if start > time:
            gaps.append([time, start])
        time = end
    if time < closes:
        gaps.append([time, closes])
    return gaps
