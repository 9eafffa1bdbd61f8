//! A kernel made of a seed.
