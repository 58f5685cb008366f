//! Writing the fields of a record, in their order.

use crate::decision::wire::{put_bytes, put_int, put_len, put_option};
use crate::decision::{AppendRecord, CommandRecord, Outcome, Saw};
use crate::event::{JSON, NewEvent, Origin};

pub(super) fn put_command(out: &mut Vec<u8>, record: &CommandRecord<'_>) {
    put_bytes(out, record.command_id.as_bytes());
    out.push(u8::from(record.id_from_client));
    put_option(out, record.caller, |out, caller| put_bytes(out, caller.as_bytes()));
    out.extend_from_slice(&record.fingerprint);
    let context = &record.context;
    put_bytes(out, context.stream.as_bytes());
    put_int(out, context.stream_version);
    put_int(out, context.now_ms);
    put_int(out, context.seed);
    put_bytes(out, context.correlation_id.as_bytes());
    put_bytes(out, context.causation_id.as_bytes());
    put_bytes(out, context.extra.as_bytes());
    put_bytes(out, record.command.as_bytes());
    put_bytes(out, record.data.as_bytes());
    put_bytes(out, record.module.name.as_bytes());
    put_bytes(out, record.module.version.as_bytes());
    out.extend_from_slice(&record.module.digest);
    put_saw(out, &record.saw);
    match &record.outcome {
        Outcome::Committed { next_hash } => {
            out.push(0);
            out.extend_from_slice(next_hash);
        }
        Outcome::Rejected(rejection) => {
            out.push(1);
            put_bytes(out, rejection.code.as_bytes());
            put_bytes(out, rejection.message.as_bytes());
            put_option(out, rejection.details, |out, text| put_bytes(out, text.as_bytes()));
        }
    }
    put_option(out, record.fuel, put_int);
}

fn put_saw(out: &mut Vec<u8>, saw: &Saw<'_>) {
    put_option(out, saw.state_hash, |out, hash| out.extend_from_slice(&hash));
    put_option(out, saw.snapshot, |out, (version, digest)| {
        put_int(out, version);
        out.extend_from_slice(&digest);
    });
    put_len(out, saw.upcasters.len());
    for digest in &saw.upcasters {
        out.extend_from_slice(digest);
    }
    put_option(out, saw.boundary, |out, (query, position)| {
        put_bytes(out, query.as_bytes());
        put_int(out, position);
    });
}

pub(super) fn put_append(out: &mut Vec<u8>, record: &AppendRecord<'_>) {
    for text in [
        record.command_id,
        record.caller,
        record.correlation_id,
        record.causation_id,
        record.condition,
    ] {
        put_option(out, text, |out, text| put_bytes(out, text.as_bytes()));
    }
    put_option(out, record.fingerprint, |out, hash| out.extend_from_slice(&hash));
}

pub(super) fn put_event(out: &mut Vec<u8>, event: &NewEvent) {
    put_bytes(out, event.event_type.as_str().as_bytes());
    put_int(out, u64::from(event.schema_version));
    // The common content type is stored as nothing.
    let content_type = Some(event.content_type.as_str()).filter(|text| *text != JSON);
    put_option(out, content_type, |out, text| put_bytes(out, text.as_bytes()));
    put_bytes(out, &event.data);
    put_len(out, event.tags.len());
    for tag in &event.tags {
        put_bytes(out, tag.as_str().as_bytes());
    }
    put_option(out, event.time_ms, put_int);
}

pub(super) fn put_origin(out: &mut Vec<u8>, origin: &Origin<'_>) {
    put_bytes(out, origin.source.as_bytes());
    put_bytes(out, origin.id.as_bytes());
    for text in [&origin.correlation_id, &origin.causation_id] {
        put_option(out, text.as_ref(), |out, text| put_bytes(out, text.as_bytes()));
    }
    put_bytes(out, origin.extensions.as_bytes());
}
