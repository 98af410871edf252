//! node-termination-operator
