//! One command line into a value (RFC 5321 §4.1.1). It must not know what came before.
