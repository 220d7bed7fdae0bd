//! What a gate asks of a host's agents, as a call of the prelude, and what they said to it.

use crate::model::{Arg, Call, Endpoint, NulInArgument, StepId};
use crate::products::{Agent, Answer, Gate, Header, Method, Question, Questions, Request, Response, by_path};
use crate::roles::WantedHost;
use crate::script::Observation;

/// The id of the probe that asks a gate's questions.
pub(crate) fn question(gate: Gate) -> StepId {
    StepId(format!("{} answers", gate.name()))
}

/// What a gate asks of a host's agents.
pub(crate) fn questions(gate: Gate, wanted: &WantedHost) -> Questions {
    let Some(endpoint) = wanted.endpoint(gate.name()) else { return Questions::Plain(Vec::new()) };
    let all = wanted.endpoints();
    let beside = all.iter().copied().filter(|other| *other != endpoint).collect();
    signed(gate.questions(&Agent { host: &wanted.host.name, endpoint, beside }), &all)
}

/// Questions with the tokens of who looks, by the agents that are asked.
pub(crate) fn signed(mut questions: Questions, agents: &[&Endpoint]) -> Questions {
    if let Questions::Plain(questions) = &mut questions {
        for question in questions {
            let agent = agents.iter().find(|agent| agent.port == question.port);
            question.header = agent.and_then(|agent| {
                let gate = Gate::ALL.into_iter().find(|gate| gate.product().name() == agent.product)?;
                gate.header(agent.tokens.observe.as_ref())
            });
        }
    }
    questions
}

/// Has the host ask.
pub(crate) fn ask(questions: &Questions) -> Result<Call, NulInArgument> {
    with_headers(bare(questions)?, questions)
}

/// A call that asks, with what its questions are headed with: a program on the host gets that on its standard input.
pub(super) fn with_headers(call: Call, questions: &Questions) -> Result<Call, NulInArgument> {
    let Questions::Plain(questions) = questions else { return Ok(call) };
    let headers = questions.iter().filter_map(|question| question.header.as_ref());
    let mut lines: Vec<String> =
        headers.map(|header| format!("{}: {}", header.name, header.value.reveal())).collect();
    // One that an agent does not know it does not read.
    lines.sort_unstable();
    lines.dedup();
    if lines.is_empty() {
        return Ok(call);
    }
    Ok(call.made_by("with_headers", [Arg::secret(lines.join("\n"))?]))
}

/// Has the host send a request to an agent of its own, as curl reads it from a file of settings.
pub(super) fn http_send(
    port: u16,
    header: Option<&Header>,
    request: &Request,
) -> Result<Call, NulInArgument> {
    let method = match request.method {
        Method::Get => "GET",
        Method::Put => "PUT",
        Method::Post => "POST",
        Method::Delete => "DELETE",
    };
    let mut settings =
        vec![("url", format!("http://127.0.0.1:{port}{}", request.path)), ("request", method.to_owned())];
    settings.extend(header.map(|header| ("header", format!("{}: {}", header.name, header.value.reveal()))));
    if !request.body.is_empty() {
        settings.push(("data-raw", request.body.clone()));
    }
    let lines = settings.iter().map(|(name, value)| {
        let value = value.replace('\\', r"\\").replace('"', "\\\"").replace('\n', r"\n");
        format!("{name} = \"{value}\"")
    });
    let settings: Vec<String> = lines.collect();
    Ok(Call::new("http_send", [Arg::secret(settings.join("\n"))?]))
}

/// The same without headers.
pub(super) fn bare(questions: &Questions) -> Result<Call, NulInArgument> {
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
