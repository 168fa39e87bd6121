//! Criterion benches of the SMTP core, the spool and the scheduler; each lives in its own file beside this folder.
