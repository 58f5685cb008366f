//! A server of one test's own, its modules, and a client that keeps answers of every status.

mod guests;
mod kills;
mod server;

pub use guests::{
    account, account_typescript_with_wasi, account_with_overdraft, counting, counting_deposits,
    counting_indexed, counting_mended, counting_otherwise, counting_twice, flights, hostile,
    hostile_counter, hostile_reshaped, hostile_state_v2, looking, parcels, parcels_moody,
    parcels_projection_v2, parcels_relabelled, scripted, workspace,
};
pub use kills::{Random, rounds, under_kills};
pub use server::{Answer, Client, Server, command, runtime};
