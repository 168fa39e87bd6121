//! A client session and a server session in memory: what one says the other understands.
