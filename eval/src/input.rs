//! Whole input files: plain, gzip-compressed, or from standard input.
