"""What an encoder must be told for the same pictures to become the same bytes every time."""

from __future__ import annotations


def macroblock_tree(width: int) -> dict[str, str]:
    """The option of libx264 that says whether pictures of this width are planned with its macroblock tree.

    Where a processor has AVX-512, x264 (build 165) takes a row of the tree eight macroblocks at a time, and at the end
    of a row whose number of them is no multiple of eight it reads memory that nothing has written: the same pictures
    then come out differently each time. Such widths do without the tree; for the same `crf` their files are better and
    up to twice as large. (`livetalk.video.h264` has a copy.)
    """
    return {"mbtree": "1" if -(-width // 16) % 8 == 0 else "0"}
