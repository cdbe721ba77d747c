//! Tests of the whole workspace; the tests themselves are in `it/`.
