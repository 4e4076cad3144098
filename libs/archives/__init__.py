"""Archives without I/O: bytes are fed in, events about the files in them come out.

unpack      archive or joined parts -> events; the entry point
decompress  gzip and bzip2 streams -> bytes, with bounded output
gzipheader  the header of a gzip member
tar         bytes of a tar archive -> events
tarheader   one header block, and PAX records
paths       which names files may have
limits      how much an archive may hold
signatures  what a file is, by its first bytes
errors      BadArchive
"""
