//! A scanner over JSON bytes, made for arrays of millions of small objects.
