//! What the benches that run whole programs share. Each lives in its own file beside this folder, as do the criterion
//! benches of the SMTP core, the spool and the scheduler, which need nothing from here.
//!
//! Must not know what is compared with what, nor print a figure: that is each bench's own.
//!
//! | module | for |
//! |---|---|
//! | [`request`] | what the command line asks of a bench with its own main |
//! | [`rig`] | the mailrig executable, and what ends all children of a bench that dies |
//! | [`process`] | one child: waited for with a bound, its processor time known at its end |
//! | [`postfix`] | Postfix's smtp-source and smtp-sink |
//! | [`instance`] | a whole MTA on loopback: ours with either store, or a private Postfix |
//! | [`floor`] | the least that a sink can do, for what the kernel takes |
//! | [`bare`] | the least that delivery can do, in processes and in a loop |
//! | [`hold`] | processes that hold many idle connections |
//! | [`line`](mod@line) | least squares |

pub mod bare;
pub mod floor;
pub mod hold;
pub mod instance;
pub mod line;
pub mod postfix;
pub mod process;
pub mod request;
pub mod rig;
