//! `factum checkpoint`, `prove` and `verify-proof`: what a third party keeps of a log, and what it
//! can be shown.

use std::path::PathBuf;
use std::process::ExitCode;

use super::progress::client;
use super::verify::{DAMAGED, could_not_look, public_key, read};
use crate::checkpoints::{Proof, ProofError, PublicKey};
use crate::decision::{Kind, parse};
use crate::report::Report;

/// What `factum checkpoint` takes.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct CheckpointArgs {
    /// A running server, such as http://127.0.0.1:7070
    #[arg(long, value_name = "URL")]
    url: String,
    /// Of how many records; of all unless given
    #[arg(long, value_name = "COUNT")]
    size: Option<u64>,
    /// Print the public key that checks them instead
    #[arg(long, conflicts_with = "size")]
    public_key: bool,
}

/// What `factum prove` takes.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct ProveArgs {
    /// A running server, such as http://127.0.0.1:7070
    #[arg(long, value_name = "URL")]
    url: String,
    /// The event
    #[arg(long)]
    position: u64,
    /// Of how many records the checkpoint is; of all unless given
    #[arg(long, value_name = "COUNT")]
    size: Option<u64>,
}

/// What `factum verify-proof` takes.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct VerifyProofArgs {
    /// The proof
    #[arg(value_name = "FILE")]
    proof: PathBuf,
    /// The public key that must have signed its checkpoint
    #[arg(long = "key", value_name = "KEY", value_parser = public_key, required = true)]
    keys: Vec<PublicKey>,
    /// The event that it must prove
    #[arg(long)]
    position: Option<u64>,
}

/// Prints a checkpoint or the key.
pub(super) async fn run(args: &CheckpointArgs) -> Result<ExitCode, String> {
    let path = match (args.public_key, args.size) {
        (true, _) => "/v1/checkpoint/key".to_owned(),
        (false, Some(size)) => format!("/v1/checkpoint?size={size}"),
        (false, None) => "/v1/checkpoint".to_owned(),
    };
    print(&args.url, &path).await
}

/// Prints a proof.
pub(super) async fn prove(args: &ProveArgs) -> Result<ExitCode, String> {
    let size = args.size.map(|size| format!("?size={size}")).unwrap_or_default();
    print(&args.url, &format!("/v1/events/{}/proof{size}", args.position)).await
}

async fn print(url: &str, path: &str) -> Result<ExitCode, String> {
    let text = client(url)?.text(path).await.map_err(|error| error.to_string())?;
    Report::stdout().line(text.trim_end_matches('\n'));
    Ok(ExitCode::SUCCESS)
}

/// Checks a proof and says what it proves.
pub(super) fn verify_proof(args: &VerifyProofArgs) -> ExitCode {
    let proof = read(&args.proof).and_then(|text| {
        Proof::parse(&text).map_err(|error| format!("{}: {error}", args.proof.display()))
    });
    let proof = match proof {
        Ok(proof) => proof,
        Err(reason) => return could_not_look(&reason),
    };
    let mut lines = Report::stdout();
    let checked = proof.check(&args.keys).and_then(|checkpoint| {
        // What was erased says itself what its hash was: it proves nothing about its numbers.
        let whole = parse(&proof.record).ok().filter(|d| !matches!(d.kind, Kind::Erased(_)));
        Ok((checkpoint, whole.ok_or(ProofError::NotInLog)?))
    });
    let (checkpoint, decision) = match checked {
        Ok(checked) => checked,
        Err(error) => {
            lines.line(format_args!("not proved: {error}"));
            return ExitCode::from(DAMAGED);
        }
    };
    let wanted = |position| args.position.is_none_or(|wanted| wanted == position);
    let events: Vec<_> = decision.events.iter().filter(|event| wanted(event.position)).collect();
    if events.is_empty() && args.position.is_some() {
        lines.line("not proved: the event is not in the record that the proof is of");
        return ExitCode::from(DAMAGED);
    }
    lines.line(format_args!(
        "decision {} is one of the first {} of {}",
        decision.header.decision, checkpoint.size, checkpoint.origin
    ));
    for event in events {
        let data = String::from_utf8_lossy(event.data);
        lines.item(format_args!("event {}, {}: {data}", event.position, event.event_type));
    }
    ExitCode::SUCCESS
}
