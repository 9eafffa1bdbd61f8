//! One suite of scenarios for every port: the same script, the same normalised trace.
