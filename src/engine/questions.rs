//! What a gate asks of a host's agents, as a call of the prelude, and what they said to it.

use crate::model::{Arg, Call, NulInArgument, StepId};
use crate::products::{Agent, Answer, Gate, Question, Questions, Response, by_path};
use crate::roles::WantedHost;
use crate::script::Observation;

/// The id of the probe that asks a gate's questions.
pub(crate) fn question(gate: Gate) -> StepId {
    StepId(format!("{} answers", gate.name()))
}

/// What a gate asks of a host's agents.
pub(crate) fn questions(gate: Gate, wanted: &WantedHost) -> Questions {
    let Some(endpoint) = wanted.endpoint(gate.name()) else { return Questions::Plain(Vec::new()) };
    let beside = wanted.endpoints().into_iter().filter(|other| *other != endpoint).collect();
    gate.questions(&Agent { host: &wanted.host.name, endpoint, beside })
}

/// Has the host ask.
pub(crate) fn ask(questions: &Questions) -> Result<Call, NulInArgument> {
    let (function, words): (_, Vec<String>) = match questions {
        Questions::Plain(questions) => {
            let url = |Question { port, target, .. }: &Question| format!("http://127.0.0.1:{port}{target}");
            ("http_get", questions.iter().map(url).collect())
        }
        Questions::Tls(questions) => {
            let words = questions.iter().flat_map(|question| {
                let files = question.files;
                [
                    question.url.as_str(),
                    files.authority,
                    files.certificate,
                    files.key,
                    question.accept,
                    question.body,
                ]
                .map(str::to_owned)
            });
            ("tls_get", words.collect())
        }
    };
    let words: Result<Vec<Arg>, _> = words.into_iter().map(Arg::new).collect();
    Ok(Call::new(function, words?))
}

/// What a host's agents said to a script: as far as they answer.
pub(crate) fn answer(observation: &Observation, gate: Gate, questions: &Questions) -> Answer {
    let fields = observation.of(&question(gate).0);
    let said = fields.all("status").filter_map(|status| status.parse().ok()).zip(fields.all_bytes("body"));
    let said: Vec<_> = said.map(|(status, body)| Response { status, body: body.to_vec() }).collect();
    let paths = questions.paths();
    // Over TLS a host says of each question what came of it, unless it lacks what to ask with.
    let lacks_files = matches!(questions, Questions::Tls(_)) && said.len() < paths.len();
    by_path(paths, said).filter(|_| !lacks_files).ok_or_else(|| {
        let reason = fields.text("error").map(str::trim).filter(|reason| !reason.is_empty());
        reason.unwrap_or("its agent does not answer").to_owned()
    })
}
