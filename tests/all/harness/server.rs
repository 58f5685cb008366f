//! The real binary on a free port of loopback, ended by its pid.

use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use factum::runtime::{
    CompileLimits, CompilerProgram, GateLimits, GuestLimits, Runtime, RuntimeOptions, Wasi,
};
use factum::tasks::Spawner;
use rustix::process::{Pid, Signal};
use serde_json::Value;

/// Nothing here waits longer than this.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running server.
pub struct Server {
    child: Child,
    pub client: Client,
}

impl Server {
    /// Starts one over a directory.
    pub fn start(dir: &Path) -> Self {
        Self::start_with(dir, &[])
    }

    /// Starts one with further arguments.
    pub fn start_with(dir: &Path, arguments: &[&str]) -> Self {
        Self::try_start(dir, arguments).unwrap_or_else(|stderr| panic!("did not start: {stderr}"))
    }

    /// Starts one that logs everything to a file.
    pub fn start_logging(dir: &Path, log: &Path) -> Self {
        let log = std::fs::File::create(log).expect("creates");
        let started = Self::try_start_with(dir, &[], "debug", log.into());
        started.unwrap_or_else(|_| panic!("did not start"))
    }

    /// Starts one whose clock is off by what a file says, and that logs to another.
    pub fn start_off(dir: &Path, clock: &Path, log: &Path) -> Self {
        let log = std::fs::File::create(log).expect("creates");
        let mut command = serve(dir, &[], "info");
        let started = Self::listening(command.env("FACTUM_CLOCK", clock).stderr(log));
        started.unwrap_or_else(|_| panic!("did not start"))
    }

    /// Starts one, or answers what it wrote to standard error before it ended.
    pub fn try_start(dir: &Path, arguments: &[&str]) -> Result<Self, String> {
        Self::try_start_with(dir, arguments, "warn", Stdio::piped())
    }

    fn try_start_with(
        dir: &Path,
        arguments: &[&str],
        level: &str,
        log: Stdio,
    ) -> Result<Self, String> {
        Self::listening(serve(dir, arguments, level).stderr(log))
    }

    /// Starts one that dies by itself at a fail point of `factum::faults`, such as `append:17:100`,
    /// perhaps before it listens.
    pub fn start_to_die(dir: &Path, fail_point: &str) -> Result<Self, String> {
        Self::start_to_die_with(dir, &[], fail_point)
    }

    /// The same with further arguments.
    pub fn start_to_die_with(
        dir: &Path,
        arguments: &[&str],
        fail_point: &str,
    ) -> Result<Self, String> {
        let mut command = serve(dir, arguments, "warn");
        Self::listening(command.env("FACTUM_FAIL_POINT", fail_point).stderr(Stdio::piped()))
    }

    fn listening(command: &mut Command) -> Result<Self, String> {
        let mut child = command.stdout(Stdio::piped()).spawn().expect("the binary runs");
        let mut line = String::new();
        let mut stdout = BufReader::new(child.stdout.take().expect("piped"));
        stdout.read_line(&mut line).expect("reads");
        let stderr = child.stderr.take();
        let Some(address) = line.trim().strip_prefix("listening on http://") else {
            let mut said = String::new();
            stderr.map(|mut stderr| stderr.read_to_string(&mut said).expect("reads"));
            let status = child.wait().expect("ends");
            assert!(!status.success(), "it ended well without listening: {said}");
            return Err(said);
        };
        // Somebody has to read, or the server would block on a full pipe.
        stderr.map(|mut stderr| {
            std::thread::spawn(move || std::io::copy(&mut stderr, &mut std::io::stderr()))
        });
        std::thread::spawn(move || std::io::copy(&mut stdout, &mut std::io::sink()));
        Ok(Self { client: Client::new(address), child })
    }

    /// Uploads a module and activates it; answers its version.
    pub fn install(&self, component: &[u8]) -> String {
        let uploaded = self.client.upload(component);
        assert!(uploaded.status < 300, "{uploaded:?}");
        let name = uploaded.json["name"].as_str().expect("a name").to_owned();
        let version = uploaded.json["version"].as_str().expect("a version").to_owned();
        self.client.activate(&name, &version).ok();
        version
    }

    /// The id of its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// A figure of its process in kB, such as `VmRSS`.
    pub fn memory_kb(&self, name: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()));
        let status = status.expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("is there");
        line.trim_matches(|c: char| !c.is_ascii_digit()).parse().expect("a number")
    }

    /// SIGKILL.
    pub fn kill(mut self) {
        self.child.kill().expect("is killed");
        self.child.wait().expect("ends");
    }

    /// SIGTERM; the server must end well.
    pub fn stop(mut self) {
        self.signal(Signal::TERM);
        let status = self.ended();
        assert!(status.success(), "it ended with {status}");
    }

    /// Waits until it was killed at the fail point that it was started with.
    pub fn died(mut self) {
        let status = self.ended();
        assert_eq!(status.signal(), Some(Signal::KILL.as_raw()), "it ended with {status}");
    }

    pub fn signal(&self, signal: Signal) {
        rustix::process::kill_process(Pid::from_child(&self.child), signal).expect("is told");
    }

    fn ended(&mut self) -> ExitStatus {
        let since = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("is watched") {
                return status;
            }
            assert!(since.elapsed() < PATIENCE, "it does not end");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

fn serve(dir: &Path, arguments: &[&str], level: &str) -> Command {
    let mut command = command();
    command.args(["serve", "--listen", "127.0.0.1:0", "--data"]).arg(dir).args(arguments);
    command.env("FACTUM_LOG", level);
    command
}

impl Drop for Server {
    fn drop(&mut self) {
        // Already gone after `kill` and `stop`.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The binary under test.
pub fn command() -> Command {
    Command::new(env!("CARGO_BIN_EXE_factum"))
}

/// The runtime as a library, with the compiler of the binary under test.
pub fn runtime(cache: &Path) -> Runtime {
    let options = RuntimeOptions {
        guests: GuestLimits::default(),
        gate: GateLimits::default(),
        wasi: Wasi::Frozen,
        compile: CompileLimits::default(),
        compiler: CompilerProgram::Child(env!("CARGO_BIN_EXE_factum").into()),
        cache: cache.to_owned(),
    };
    Runtime::new(options, &Spawner::default()).expect("starts")
}

/// A client of one server; cheap to clone.
#[derive(Clone)]
pub struct Client {
    pub base: String,
    agent: ureq::Agent,
}

fn agent(patience: Duration) -> ureq::Agent {
    let config = ureq::Agent::config_builder().http_status_as_error(false);
    config.timeout_global(Some(patience)).build().into()
}

/// What came back.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub text: String,
    /// Null where the body is not JSON.
    pub json: Value,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    /// Fails the test unless it is a 2xx.
    pub fn ok(self) -> Self {
        assert!((200..300).contains(&self.status), "{self:?}");
        self
    }

    /// Fails the test unless it is a problem of this status and code; answers its detail.
    pub fn problem(self, status: u16, code: &str) -> String {
        assert_eq!((self.status, self.json["code"].as_str()), (status, Some(code)), "{self:?}");
        let media = self.header("content-type").unwrap_or_default();
        assert!(media.starts_with("application/problem+json"), "{media}");
        assert_eq!(self.json["status"], status);
        for field in ["type", "title", "instance"] {
            assert!(self.json[field].is_string(), "no {field}: {}", self.text);
        }
        self.json["detail"].as_str().expect("a detail").to_owned()
    }
}

impl Client {
    fn new(address: &str) -> Self {
        Self { base: format!("http://{address}"), agent: agent(PATIENCE) }
    }

    /// One that shares no connections with others.
    pub fn with_own_connections(&self) -> Self {
        Self { base: self.base.clone(), agent: agent(PATIENCE) }
    }

    /// One that waits until an interpreter is compiled, beside whatever else the machine does.
    pub fn patient(&self) -> Self {
        Self { base: self.base.clone(), agent: agent(5 * PATIENCE) }
    }

    /// One that waits hardly at all.
    pub fn hasty(&self) -> Self {
        Self { base: self.base.clone(), agent: agent(Duration::from_millis(100)) }
    }

    pub fn get(&self, path: &str) -> Answer {
        self.try_get(path).expect("answers")
    }

    /// A request that may find no server.
    pub fn try_get(&self, path: &str) -> Result<Answer, ureq::Error> {
        self.try_send("GET", path, &[], None)
    }

    pub fn get_with(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        self.try_send("GET", path, headers, None).expect("answers")
    }

    pub fn post(&self, path: &str, body: &Value) -> Answer {
        self.post_with(path, body, &[])
    }

    pub fn post_with(&self, path: &str, body: &Value, headers: &[(&str, &str)]) -> Answer {
        self.try_post(path, body, headers).expect("answers")
    }

    /// A request that may find no server.
    pub fn try_post(
        &self,
        path: &str,
        body: &Value,
        headers: &[(&str, &str)],
    ) -> Result<Answer, ureq::Error> {
        let body = serde_json::to_vec(body).expect("serialises");
        let mut all = vec![("content-type", "application/json")];
        all.extend(headers);
        self.try_send("POST", path, &all, Some(&body))
    }

    pub fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        self.try_send(method, path, headers, Some(body)).expect("answers")
    }

    pub fn upload(&self, component: &[u8]) -> Answer {
        self.try_upload(component).expect("answers")
    }

    /// An upload that may find no server, or lose it.
    pub fn try_upload(&self, component: &[u8]) -> Result<Answer, ureq::Error> {
        let headers = [("content-type", "application/wasm")];
        self.try_send("POST", "/v1/modules", &headers, Some(component))
    }

    pub fn activate(&self, name: &str, version: &str) -> Answer {
        let body = format!("{{\"version\":\"{version}\"}}");
        let path = format!("/v1/modules/{name}/active");
        self.send("PUT", &path, &[("content-type", "application/json")], body.as_bytes())
    }

    /// Every event of the log, page by page.
    pub fn all_events(&self) -> Vec<Value> {
        let (mut events, mut after) = (Vec::new(), 0);
        loop {
            let page = self.get(&format!("/v1/events?after={after}&limit=1000")).ok().json;
            let Some(list) = page["events"].as_array().filter(|list| !list.is_empty()) else {
                return events;
            };
            events.extend(list.iter().cloned());
            after = events.last().and_then(|e| e["position"].as_u64()).expect("a position");
        }
    }

    /// A request that may find no server, or lose it.
    pub fn try_send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&[u8]>,
    ) -> Result<Answer, ureq::Error> {
        let mut request =
            ureq::http::Request::builder().method(method).uri(format!("{}{path}", self.base));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut answer = match body {
            Some(body) => self.agent.run(request.body(body.to_vec())?)?,
            None => self.agent.run(request.body(())?)?,
        };
        let text = answer.body_mut().with_config().limit(64 << 20).read_to_string()?;
        Ok(Answer {
            status: answer.status().as_u16(),
            headers: answer
                .headers()
                .iter()
                .map(|(k, v)| (k.to_string(), v.to_str().unwrap_or_default().to_owned()))
                .collect(),
            json: serde_json::from_str(&text).unwrap_or_default(),
            text,
        })
    }
}
