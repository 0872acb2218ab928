//! What a newcomer and a packager get: generated pages are what the list of settings says, examples
//! hold only settings that adieu accepts, packages and images work, and the static binary keeps the
//! sizes that the README promises.

#[path = "../packaging/generate.rs"]
mod generate;
mod harness;

use adieu::settings::list::LIST;
use harness::{Companion, Scratch};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

const EXAMPLES: [&str; 4] = [
    "Dockerfile.example",
    "packaging/systemd/adieu-example.service",
    "packaging/kubernetes/deployment.yaml",
    "packaging/docker/compose.yaml",
];
/// How much of a hardened service systemd may find wanting, of ten.
const EXPOSURE: f64 = 3.0;
const MANUALS: [&str; 2] = ["packaging/man/adieu.1", "packaging/man/adieu-rehearse.1"];
/// Given to hooks, not read from the environment.
const OF_HOOKS: [&str; 4] = ["ADIEU_PHASE", "ADIEU_APP_PID", "ADIEU_EXIT_STATUS", "ADIEU_STOP_SIGNAL"];
/// What the static binary may measure: bytes on disk, and KiB of private dirty memory.
const BYTES: u64 = 640_000;
/// With the library that rustup brings, whose messages of a panic cannot be left out.
const BYTES_BY_RUSTUP: u64 = 1_100_000;
const KIB: u64 = 64;
/// For one command of a tool's.
const LIMIT: Duration = Duration::from_secs(120);
/// How long it must sleep through; a heartbeat of one second would show three times.
const IDLE: Duration = Duration::from_secs(3);

#[test]
fn generated_files_are_what_the_list_says() {
    for (path, text) in generate::files() {
        let there = read(path.to_str().expect("an ASCII path"));
        assert!(there == text, "{} is out of date: cargo run --example generate", path.display());
    }
}

#[test]
fn every_flag_stands_in_help_manual_completions_and_documentation() {
    let plain = |text: String| text.replace("\\fR", " ").replace('\\', "").replace(['`', '\n'], " ");
    let help = succeeds(Command::new(env!("CARGO_BIN_EXE_adieu")).env_clear().arg("--help"));
    let pages = [help, read(MANUALS[0]), read("packaging/docs/settings.md")].map(plain);
    let completions = ["adieu.bash", "_adieu"].map(|file| read(&format!("packaging/completions/{file}")));
    let fish = read("packaging/completions/adieu.fish");
    for setting in LIST {
        let flag = format!("--{}", setting.long);
        let lacks = pages.iter().position(|page| !page.contains(&format!("{flag} ")));
        assert_eq!(lacks, None, "help, the manual or the documentation lacks {flag}");
        assert!(completions.iter().all(|text| text.contains(&flag)), "bash or zsh do not complete {flag}");
        assert!(fish.contains(&format!("-l {} ", setting.long)), "fish does not complete {flag}");
    }
}

/// The README is short: the rest stands in the page of settings. It names only flags that there
/// are.
#[test]
fn the_flags_in_the_readme_exist() {
    let readme = read("README.md");
    let ours = readme.split("adieu --").skip(1).filter_map(|rest| rest.split([' ', '`', '\n']).next());
    for flag in ours.filter(|flag| !flag.is_empty()) {
        assert!(LIST.iter().any(|setting| setting.long == flag), "README.md mentions --{flag}");
    }
}

#[test]
fn every_variable_that_is_mentioned_exists() {
    let known: BTreeSet<String> = LIST.iter().filter_map(adieu::settings::list::Setting::variable).collect();
    for path in EXAMPLES.into_iter().chain(["README.md"]) {
        for name in variables(&read(path)) {
            assert!(known.contains(&name) || OF_HOOKS.contains(&name.as_str()), "{path} mentions {name}");
        }
    }
}

#[test]
fn the_examples_hold_settings_that_adieu_accepts() {
    for (path, settings) in EXAMPLES.map(|path| (path, assignments(&read(path)))) {
        assert!(!settings.is_empty(), "{path} sets nothing");
        let mut check = Command::new(env!("CARGO_BIN_EXE_adieu"));
        check.args(["--check", "--", "app"]).env_clear();
        let check = harness::output(check.envs(settings), LIMIT);
        assert!(check.status.success(), "{path}: {}", String::from_utf8_lossy(&check.stderr));
    }
}

#[test]
fn the_grace_is_the_same_for_the_platform_and_for_adieu() {
    let pairs = [
        (EXAMPLES[1], "TimeoutStopSec=", "ADIEU_GRACE="),
        (EXAMPLES[2], "terminationGracePeriodSeconds: ", "value: "),
        (EXAMPLES[3], "stop_grace_period: ", "ADIEU_GRACE: "),
    ];
    for (path, platform, adieu) in pairs {
        let text = read(path);
        let after = |name: &str| {
            let value = text.split_once(name).and_then(|(_, rest)| rest.lines().next());
            value.unwrap_or_else(|| panic!("{path} lacks {name}")).trim_end_matches('s').to_owned()
        };
        assert_eq!(after(platform), after(adieu), "{path}");
    }
}

#[test]
fn the_settings_file_in_the_readme_is_valid() {
    let readme = read("README.md");
    let block = readme.split_once("```toml\n").and_then(|(_, rest)| rest.split_once("```"));
    let scratch = Scratch::new();
    let file = scratch.file("adieu.toml", block.expect("a TOML block").0);
    let mut check = Command::new(env!("CARGO_BIN_EXE_adieu"));
    succeeds(check.env_clear().args(["--check", "--config"]).arg(file).args(["--", "app"]));
}

/// Validates a JSON or TOML document by a schema from packaging/schema.
const VALIDATE: &str = "import json, sys, tomllib, jsonschema\n\
    schema, file = json.load(open(sys.argv[1])), open(sys.argv[2], 'rb')\n\
    jsonschema.Draft202012Validator.check_schema(schema)\n\
    jsonschema.validate((json if sys.argv[2].endswith('.json') else tomllib).load(file), schema)";

fn is_valid(document: &Path, schema: &str) -> bool {
    let schema = path("packaging/schema").join(schema);
    let mut python = Command::new("python3");
    python.args(["-c", VALIDATE]).arg(schema).arg(document);
    harness::output(&mut python, LIMIT).status.success()
}

#[test]
fn reports_follow_their_schema() {
    require!(harness::python_has("jsonschema, tomllib"));
    let scratch = Scratch::new();
    let report = scratch.path("report.json");
    let asks = "trap '' TERM; kill -TERM $PPID; sleep 60";
    let hooks = "--on-stop exec:true --on-exit exec:false --health 127.0.0.1:0";
    for (options, script, killed) in [("--grace 1s", "exit 4", false), ("--grace 1s", asks, true)] {
        let launch = harness::Launch::ordinary(harness::Init::Adieu).options(options).options(hooks);
        launch.option("--report").option(&report).command(["sh", "-c", script]).run();
        let text = std::fs::read_to_string(&report).expect("a report");
        assert!(is_valid(&report, "report.json"), "{text}");
        assert_eq!(text.contains("\"killed\": true,\n  \"leftovers\""), killed, "{text}");
        // The schema names every key, so that a typo in a reader's program is found.
        let wrong = scratch.file("wrong.json", &text.replace("\"status\"", "\"state\""));
        assert!(!is_valid(&wrong, "report.json"), "a report without its status is none");
    }
}

/// The schema accepts what adieu accepts, and finds a typo as adieu does.
#[test]
fn the_schema_of_the_settings_file_agrees_with_adieu() {
    require!(harness::python_has("jsonschema, tomllib"));
    let scratch = Scratch::new();
    for (text, good) in [
        (
            "platform = 'none'\nstop = { grace = 20, pre-stop = '3.5s', on = ['TERM', 'HUP'], once = true }",
            true,
        ),
        ("ready.health = ':8086'\nexit.success = [3, 4]\ndrain = { port = 80, longest = '500ms' }", true),
        ("stop.grase = 3", false),
        ("stop.grace = 'soon'", false),
        ("drain.port = 70000", false),
        ("log.format = 'xml'", false),
        ("stop.once = [true]", false),
    ] {
        let file = scratch.file("adieu.toml", text);
        let mut check = Command::new(env!("CARGO_BIN_EXE_adieu"));
        check.env_clear().args(["--check", "--config"]).arg(&file).args(["--", "app"]);
        let accepts = harness::output(&mut check, LIMIT).status.success();
        let valid = is_valid(&file, "settings.json");
        assert_eq!((accepts, valid), (good, good), "adieu and the schema on: {text}");
    }
}

#[test]
fn the_timeline_in_the_readme_is_the_one_that_adieu_shows() {
    let mut check = Command::new(env!("CARGO_BIN_EXE_adieu"));
    check.env_clear().args(["--check", "--platform", "kubernetes", "--grace", "60", "--", "my-app"]);
    let shown = succeeds(&mut check);
    let timeline = shown.split_once("\nwhen ").expect("a timeline").1;
    assert!(read("README.md").contains(timeline), "the README shows another timeline than:\n{timeline}");
}

#[test]
fn the_manual_pages_are_sound() {
    require!(harness::program("groff"));
    for page in MANUALS {
        let mut groff = Command::new("groff");
        let groff = harness::output(groff.args(["-man", "-ww", "-z"]).arg(path(page)), LIMIT);
        assert!(groff.stderr.is_empty(), "{page}: {}", String::from_utf8_lossy(&groff.stderr));
    }
}

#[test]
fn bash_completes_flags_values_and_the_command() {
    let script =
        "source \"$1\"; COMP_WORDS=(${@:2} \"\"); COMP_CWORD=$(($# - 1)); _adieu; echo \"${COMPREPLY[*]}\"";
    let complete = |words: &[&str]| {
        let (last, before) = words.split_last().expect("a word to complete");
        let script = script.replace("\"\")", &format!("'{last}')"));
        let file = path("packaging/completions/adieu.bash");
        let mut bash = Command::new("bash");
        succeeds(bash.args(["-c", &script, "bash"]).arg(file).args(before)).trim().to_owned()
    };
    assert_eq!(complete(&["adieu", "--pre"]), "--pre-stop");
    assert_eq!(complete(&["adieu", "--grace", "5", "--platform", "k"]), "kubernetes");
    assert_eq!(complete(&["adieu", "--drain", "o"]), "off");
    assert!(complete(&["adieu", "basenam"]).contains("basename"));
    // From COMMAND on the words are the app's.
    assert_eq!(complete(&["adieu", "-e", "3", "app", "--pre"]), "");
    assert_eq!(complete(&["adieu", "--", "--pre"]), "");
}

#[test]
fn zsh_and_fish_read_their_completions() {
    for (shell, file) in [("zsh", "_adieu"), ("fish", "adieu.fish")] {
        require!(harness::program(shell));
        succeeds(Command::new(shell).arg("-n").arg(path("packaging/completions").join(file)));
    }
}

#[test]
fn systemd_accepts_the_units() {
    require!(harness::program("systemd-analyze"));
    let scratch = Scratch::new();
    let here = |unit: &str| {
        let unit = unit
            .replace("/usr/bin/adieu", env!("CARGO_BIN_EXE_adieu"))
            .replace("/usr/bin/my-app", "/bin/true");
        unit.replace("Documentation=man:adieu(1)\n", "")
    };
    let example = scratch.file("adieu-example.service", &here(&read(EXAMPLES[1])));
    let template = scratch.file("adieu@.service", &here(&read("packaging/systemd/adieu@.service")));
    let wrapped = scratch.file("wrapped.service", "[Service]\nExecStart=/bin/false\n");
    std::fs::create_dir(scratch.path("wrapped.service.d")).expect("a new folder");
    scratch.file("wrapped.service.d/adieu.conf", &here(&read("packaging/systemd/wrap.conf")));
    for unit in [example, template, wrapped] {
        let output = harness::output(Command::new("systemd-analyze").arg("verify").arg(&unit), LIMIT);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let name = unit.file_name().expect("a name").to_string_lossy().into_owned();
        // The machine's own units may be wrong in places.
        let wrong = said.lines().find(|line| line.contains(name.trim_end_matches("@.service")));
        assert!(output.status.success() && wrong.is_none(), "{said}");
    }
}

#[test]
fn the_template_unit_is_hardened() {
    require!(harness::program("systemd-analyze"));
    let mut security = Command::new("systemd-analyze");
    security.args(["security", "--offline=true"]).arg(path("packaging/systemd/adieu@.service"));
    let output = harness::output(&mut security, LIMIT);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let level =
        said.lines().last().and_then(|line| line.split_once(": ")?.1.split(' ').next()?.parse::<f64>().ok());
    assert!(level.is_some_and(|level| level < EXPOSURE), "{said}");
}

#[test]
fn the_debian_package_holds_a_working_adieu() {
    require!(harness::program("dpkg-deb"));
    let scratch = Scratch::new();
    let mut build = Command::new(path("packaging/debian/build.sh"));
    let package = succeeds(build.arg(scratch.path("")).env("STATIC_BINARY", static_binary()));
    let tree = scratch.path("tree");
    succeeds(Command::new("dpkg-deb").arg("-x").arg(package.trim()).arg(&tree));
    let version = succeeds(Command::new(tree.join("usr/bin/adieu")).env_clear().arg("--version"));
    assert_eq!(version, concat!("adieu ", env!("CARGO_PKG_VERSION"), "\n"));
    let architecture = if std::env::consts::ARCH == "aarch64" { "arm64" } else { "amd64" };
    deb_is_complete(Path::new(package.trim()), architecture);
}

#[test]
fn the_rpm_holds_what_the_debian_package_does() {
    require!(harness::program("rpmbuild"));
    let scratch = Scratch::new();
    let mut build = Command::new(path("packaging/rpm/build.sh"));
    let package = succeeds(build.arg(scratch.path("")).env("STATIC_BINARY", static_binary()));
    rpm_is_complete(Path::new(package.trim()), std::env::consts::ARCH);
}

/// The image that users `COPY --from=`: written by hand, read by an engine.
#[test]
fn the_image_of_the_release_runs_and_is_the_same_each_time() {
    require!(harness::root());
    require!(harness::program("podman"));
    require!(harness::program("runc"));
    let scratch = Scratch::new();
    let write = |name: &str| {
        let (archive, binary) = (scratch.path(name), static_binary().display().to_string());
        let both = [format!("amd64={binary}"), format!("arm64={binary}")];
        succeeds(Command::new(path("packaging/docker/oci-image.sh")).arg(&archive).args(both));
        std::fs::read(archive).expect("the archive")
    };
    let (first, second) = (write("first.tar"), write("second.tar"));
    assert!(first == second, "two archives of the same binary differ");

    let archive = format!("oci-archive:{}", scratch.path("first.tar").display());
    let image = succeeds(podman(&scratch).args(["pull", "--quiet"]).arg(archive));
    let shape = "{{json .Config.Entrypoint}} {{.Architecture}}";
    let shape = succeeds(podman(&scratch).args(["image", "inspect", "--format", shape, image.trim()]));
    assert!(shape.starts_with(r#"["/adieu","--"] "#), "{shape}");
    let run =
        ["run", "--rm", "--network", "none", "--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024"];
    let ran =
        succeeds(podman(&scratch).args(run).args(["--entrypoint", "/adieu", image.trim(), "--version"]));
    assert_eq!(ran, concat!("adieu ", env!("CARGO_PKG_VERSION"), "\n"));

    // As the README's Install says; tests/docker.rs does the same by Docker.
    succeeds(podman(&scratch).args(["load", "--quiet", "--input"]).arg(scratch.path("first.tar")));
    let copy = concat!("FROM scratch\nCOPY --from=adieu:", env!("CARGO_PKG_VERSION"), " /adieu /adieu\n");
    let file = scratch.file("Containerfile", copy);
    succeeds(podman(&scratch).args(["build", "--quiet", "--file"]).arg(file).arg(scratch.path("")));
}

/// From two folders of different names: all that a release has, built twice.
#[test]
fn a_release_is_the_same_from_any_folder_and_holds_what_it_promises() {
    long!();
    for program in ["rpmbuild", "rpm", "dpkg-deb", "jq", "cargo-cyclonedx"] {
        require!(harness::program(program));
    }
    let scratch = Scratch::new();
    let releases = ["one", "another-folder"].map(|name| {
        let folder = scratch.path(name);
        succeeds(Command::new("git").args(["clone", "--quiet", "--no-hardlinks"]).arg(path("")).arg(&folder));
        let mut release = Command::new(folder.join("packaging/release.sh"));
        release.env_remove("CARGO_TARGET_DIR").env_remove("ADIEU_STATIC");
        PathBuf::from(succeeds_within(&mut release, Duration::from_secs(3600)).trim())
    });
    let sums = releases.each_ref().map(|out| std::fs::read_to_string(out.join("SHA256SUMS")).expect("sums"));
    assert_eq!(sums[0], sums[1]);

    let [out, _] = &releases;
    succeeds(Command::new("sha256sum").args(["--check", "--strict", "SHA256SUMS"]).current_dir(out));
    let there = std::fs::read_dir(out).expect("a folder").map(|entry| entry.expect("an entry").file_name());
    let summed = sums[0].lines().map(|line| line.split_once("  ").expect("a sum and a name").1.to_owned());
    let there: BTreeSet<String> = there.map(|name| name.into_string().expect("an ASCII name")).collect();
    assert_eq!(there, summed.chain(["SHA256SUMS".to_owned()]).collect());

    let version = env!("CARGO_PKG_VERSION");
    for (docker, kernel) in [("amd64", "x86_64"), ("arm64", "aarch64")] {
        assert!(there.contains(&format!("adieu-{docker}")), "{there:?}");
        assert!(there.contains(&format!("adieu-rehearse-{docker}")), "{there:?}");
        tarball_is_complete(&out.join(format!("adieu-{version}-linux-{docker}.tar.gz")), out, docker);
        deb_is_complete(&out.join(format!("adieu_{version}_{docker}.deb")), docker);
        rpm_is_complete(&out.join(format!("adieu-{version}-1.{kernel}.rpm")), kernel);
    }
    assert!(there.contains(&format!("adieu-{version}-oci.tar")), "{there:?}");
    for package in ["adieu", "adieu-rehearse"] {
        bill_is_complete(&out.join(format!("{package}-{version}.cdx.json")), package);
    }
}

/// With the programs that lie beside it in the release, as these.
fn tarball_is_complete(tarball: &Path, release: &Path, docker: &str) {
    let list = succeeds(Command::new("tar").arg("-tzf").arg(tarball));
    let name = tarball.file_name().and_then(|name| name.to_str()?.strip_suffix(".tar.gz")).expect("a name");
    for file in [
        "README.md",
        "LICENSE",
        "adieu.1",
        "adieu-rehearse.1",
        "completions/adieu.bash",
        "completions/_adieu",
        "completions/adieu.fish",
        "systemd/adieu@.service",
        "kubernetes/deployment.yaml",
        "docker/compose.yaml",
    ] {
        assert!(list.lines().any(|line| line == format!("{name}/{file}")), "no {file} in\n{list}");
    }
    for program in ["adieu", "adieu-rehearse"] {
        let mut extract = Command::new("tar");
        extract.arg("-xzOf").arg(tarball).arg(format!("{name}/{program}"));
        let packed = harness::output(&mut extract, LIMIT);
        let beside = std::fs::read(release.join(format!("{program}-{docker}"))).expect("the program");
        assert!(packed.status.success() && packed.stdout == beside, "{program} in {}", tarball.display());
    }
}

/// What both packages install. zsh has its completions where the distribution looks for them.
fn is_installed(list: &BTreeSet<&str>, zsh: &str) {
    for file in [
        "/usr/bin/adieu",
        "/usr/lib/systemd/system/adieu@.service",
        "/usr/share/bash-completion/completions/adieu",
        "/usr/share/doc/adieu/copyright",
        "/usr/share/doc/adieu/examples/deployment.yaml",
        "/usr/share/fish/vendor_completions.d/adieu.fish",
        "/usr/share/man/man1/adieu.1.gz",
        zsh,
    ] {
        assert!(list.contains(file), "the package lacks {file}: {list:?}");
    }
}

fn deb_is_complete(package: &Path, architecture: &str) {
    let list = succeeds(Command::new("dpkg-deb").arg("-c").arg(package));
    // -rwxr-xr-x root/root 582928 2026-11-24 12:00 ./usr/bin/adieu
    let names = list.lines().filter_map(|line| line.rsplit_once(" .")).map(|(_, name)| name);
    is_installed(&names.collect(), "/usr/share/zsh/vendor-completions/_adieu");
    let owned = list.lines().all(|line| line.split_whitespace().nth(1) == Some("root/root"));
    assert!(owned, "not all is root's:\n{list}");
    let field = |name: &str| succeeds(Command::new("dpkg-deb").arg("-f").arg(package).arg(name));
    assert_eq!(field("Package"), "adieu\n");
    assert_eq!(field("Version"), concat!(env!("CARGO_PKG_VERSION"), "\n"));
    assert_eq!(field("Architecture"), format!("{architecture}\n"));
    assert_eq!(field("Depends").trim(), "", "it depends on nothing");
}

fn rpm_is_complete(package: &Path, architecture: &str) {
    let list = succeeds(Command::new("rpm").arg("-qlp").arg(package));
    is_installed(&list.lines().collect(), "/usr/share/zsh/site-functions/_adieu");
    let mut query = Command::new("rpm");
    let identity = succeeds(query.args(["-qp", "--qf", "%{NAME} %{VERSION} %{ARCH}"]).arg(package));
    assert_eq!(identity, format!("adieu {} {architecture}", env!("CARGO_PKG_VERSION")));
    let needs = succeeds(Command::new("rpm").arg("-qRp").arg(package));
    assert!(needs.lines().all(|line| line.starts_with("rpmlib(")), "it depends on nothing: {needs}");
}

/// The bill of materials names what cargo builds the program of, in these versions, and nothing
/// else.
fn bill_is_complete(bill: &Path, package: &str) {
    let text = std::fs::read_to_string(bill).expect("a bill of materials");
    let bill: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!((bill["bomFormat"].as_str(), bill["specVersion"].as_str()), (Some("CycloneDX"), Some("1.5")));
    let named = |component: &serde_json::Value| {
        let text = |key: &str| component[key].as_str().expect("a text").to_owned();
        (text("name"), text("version"))
    };
    let listed: BTreeSet<_> = bill["components"].as_array().expect("a list").iter().map(named).collect();
    let mut tree = Command::new("cargo");
    tree.args(["tree", "--locked", "--edges", "normal,build", "--prefix", "none", "--format", "{p}"]);
    tree.args(["--target", "x86_64-unknown-linux-musl", "--package", package]);
    let tree = succeeds(tree.current_dir(path("")));
    // nix v0.31.3, and a word or a path more behind some; the program itself comes first.
    let crates = tree.lines().skip(1).filter_map(|line| line.split_once(" v"));
    let crates = crates.map(|(name, rest)| (name, rest.split(' ').next().unwrap_or_default()));
    let crates: BTreeSet<_> = crates.map(|(name, version)| (name.to_owned(), version.to_owned())).collect();
    assert!(crates.len() > 20, "cargo tree is understood: {tree}");
    assert_eq!(listed, crates, "the bill of {package}");
    // Only the rehearsal has the init with the schema of its report.
    let schema = listed.iter().any(|(name, _)| name == "schemars");
    assert_eq!(schema, package == "adieu-rehearse", "{package} and the crates of the schema");
    let lock = read("Cargo.lock");
    for (name, version) in &listed {
        let locked = lock.contains(&format!("name = \"{name}\"\nversion = \"{version}\"\n"));
        assert!(locked, "Cargo.lock has no {name} {version}");
    }
    let references = |value: &serde_json::Value| value["ref"].as_str().expect("a reference").to_owned();
    let known: BTreeSet<_> =
        bill["dependencies"].as_array().expect("a list").iter().map(references).collect();
    for dependency in bill["dependencies"].as_array().expect("a list") {
        for on in dependency["dependsOn"].as_array().into_iter().flatten() {
            assert!(known.contains(on.as_str().expect("a reference")), "{on} is not listed");
        }
    }
}

/// The example's own last stage, with nothing below it and the binary from here, since no registry
/// is at hand.
#[test]
fn an_image_from_scratch_runs_as_the_example_says() {
    require!(harness::root());
    require!(harness::program("podman"));
    require!(harness::program("runc"));
    let scratch = Scratch::new();
    std::fs::copy(static_binary(), scratch.path("adieu")).expect("a copy of the binary");
    let example = read(EXAMPLES[0]);
    let stage = example.rsplit_once("\nFROM ").and_then(|(_, stage)| stage.split_once('\n'));
    let stage = stage.expect("a last stage").1.replace("--from=adieu /usr/local/bin/adieu", "adieu");
    let stage: Vec<&str> = stage.lines().filter(|line| !line.contains("--from=my-app")).collect();
    let stage = stage.join("\n");
    scratch.file("Containerfile", &format!("FROM scratch\n{stage}"));

    let build = ["build", "--quiet", "--format", "docker", "--tag", "adieu-example"];
    succeeds(podman(&scratch).args(build).arg(scratch.path("")));
    let shape = "{{json .Config.Entrypoint}} {{json .Config.Healthcheck.Test}}";
    let shape = succeeds(podman(&scratch).args(["image", "inspect", "--format", shape, "adieu-example"]));
    assert_eq!(shape.trim(), r#"["/adieu","--"] ["CMD","/adieu","--probe","readyz"]"#);
    // The image's only program is adieu, so it is the app, too.
    let run =
        ["run", "--rm", "--network", "none", "--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024"];
    let ran = succeeds(podman(&scratch).args(run).args([
        "--env",
        "ADIEU_READY=",
        "adieu-example",
        "/adieu",
        "--check",
        "app",
    ]));
    assert!(ran.contains("platform docker"), "adieu in a container said: {ran}");
    succeeds(podman(&scratch).args(["rmi", "adieu-example"]));
}

#[test]
fn the_static_binary_keeps_its_sizes() {
    let binary = static_binary();
    let program = std::fs::read(&binary).expect("the binary");
    // The folder that its makers built the library in.
    let by_rustup = program.windows(7).any(|text| text == b"/rustc/");
    let (bytes, limit) = (program.len() as u64, if by_rustup { BYTES_BY_RUSTUP } else { BYTES });
    assert!(bytes <= limit, "the static binary has {bytes} bytes");

    let resting = Resting::start(&binary);
    let dirty = resting.number("smaps_rollup", "Private_Dirty:");
    assert!(dirty <= KIB, "{dirty} KiB of private dirty memory");
    let before = resting.switches();
    std::thread::sleep(IDLE); // the span in which nothing may happen
    assert_eq!(resting.switches(), before, "adieu woke up while nothing happened");
}

/// Which Rust builds it, and for what: on Alpine its own, as by rustup when Debian's is not there,
/// and for another processor with the linker that Rust brings. cargo and rustc are only named here.
#[test]
fn the_static_build_takes_the_rust_that_is_there() {
    let machine = std::env::consts::ARCH;
    let other = if machine == "x86_64" { "aarch64" } else { "x86_64" };
    let (alpine, glibc) = (format!("{machine}-alpine-linux-musl"), format!("{machine}-unknown-linux-gnu"));
    let (musl, foreign) = (format!("{machine}-unknown-linux-musl"), format!("{other}-unknown-linux-musl"));
    let built = |host: &str, targets: &[&str], asked: &[&str]| {
        let scratch = Scratch::new();
        let program = |name: &str, script: String| {
            let file = scratch.file(name, &format!("#!/bin/sh\n{script}"));
            std::fs::set_permissions(file, std::os::unix::fs::PermissionsExt::from_mode(0o755))
                .expect("mine");
        };
        for target in targets {
            let library = scratch.path("").join("lib/rustlib").join(target).join("lib");
            std::fs::create_dir_all(library).expect("a new folder");
        }
        let root = scratch.path("");
        program(
            "rustc",
            format!("case $1 in -vV) echo 'host: {host}' ;; --print) echo '{}' ;; esac", root.display()),
        );
        program("cargo", "echo \"$@\" >&2; echo \"flags: $RUSTFLAGS\" >&2".to_owned());
        // Without the cross compilers, Debian's Rust cannot be taken.
        program("uname", format!("echo {machine}"));
        for name in ["dirname", "sed", "sh"] {
            let real = succeeds(Command::new("sh").args(["-c", &format!("command -v {name}")]));
            std::os::unix::fs::symlink(real.trim(), scratch.path(name)).expect("a new link");
        }
        let mut build = Command::new("/bin/sh");
        build.arg(path("packaging/build-static.sh")).args(asked).env_clear();
        let output = harness::output(build.env("PATH", &root).env("HOME", "/nowhere"), LIMIT);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.success(), text(&output.stdout), text(&output.stderr))
    };
    for (host, targets, asked, target, linker) in [
        (&alpine, &[alpine.as_str()][..], &[][..], &alpine, false),
        (&glibc, &[&glibc, &musl], &[], &musl, false),
        (&glibc, &[&glibc, &foreign], &[foreign.as_str()], &foreign, true),
        (&glibc, &[&glibc], &[], &glibc, false),
    ] {
        let (success, printed, said) = built(host, targets, asked);
        assert!(success, "{said}");
        assert!(printed.ends_with(&format!("/{target}/release/adieu\n")), "{printed}");
        assert!(said.contains(&format!("--target {target} ")), "{said}");
        assert!(said.contains("-C target-feature=+crt-static -C relocation-model=static"), "{said}");
        assert_eq!(said.contains(".linker='rust-lld'"), linker, "{said}");
        assert_eq!(said.contains("linking glibc"), *target == glibc, "{said}");
    }
    let (success, _, said) = built(&glibc, &[&glibc], &[&foreign]);
    assert!(!success && said.contains("rustup target add"), "{said}");
}

/// As the build does where no musl is: it needs no other file either.
#[test]
fn glibc_is_linked_statically_too() {
    long!();
    let target = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let mut build = Command::new(path("packaging/build-static.sh"));
    let binary = succeeds_within(build.arg(target), harness::BUILD);
    let mut headers = Command::new("readelf");
    let headers = succeeds(headers.arg("--program-headers").arg(binary.trim()));
    assert!(headers.contains("LOAD") && !headers.contains("INTERP"), "{headers}");
    let mut adieu = Command::new(binary.trim());
    let ran = harness::output(adieu.env_clear().args(["--", "/bin/sh", "-c", "exit 3"]), LIMIT);
    assert_eq!(ran.status.code(), Some(3), "{}", String::from_utf8_lossy(&ran.stderr));
}

/// The static adieu with an app that does nothing.
struct Resting(Companion);

impl Resting {
    fn start(binary: &Path) -> Resting {
        // A new file's pages count as dirty until they have been written.
        nix::unistd::sync();
        let mut adieu = Command::new(binary);
        adieu.env_clear().args(["--", "/bin/sleep", "1000"]).stdin(Stdio::null());
        let resting = Resting(Companion::start(&mut adieu));
        let pid = resting.0.pid();
        let app_runs = || {
            let name =
                |child: &i32| std::fs::read_to_string(format!("/proc/{child}/comm")).unwrap_or_default();
            harness::children(pid).iter().any(|child| name(child) == "sleep\n")
        };
        harness::until("the app runs", app_runs);
        let mut before = resting.switches();
        harness::until("adieu is at rest", || {
            std::thread::sleep(Duration::from_millis(200));
            let rests = resting.switches() == before && harness::stat(pid, 0).as_deref() == Some("S");
            before = resting.switches();
            rests
        });
        resting
    }

    fn switches(&self) -> u64 {
        let names = ["voluntary_ctxt_switches:", "nonvoluntary_ctxt_switches:"];
        names.iter().map(|name| self.number("status", name)).sum()
    }

    /// The number behind a name in /proc/PID/FILE.
    fn number(&self, file: &str, name: &str) -> u64 {
        let page = std::fs::read_to_string(format!("/proc/{}/{file}", self.0.pid())).expect("/proc");
        let number =
            page.lines().find_map(|line| line.strip_prefix(name)?.split_whitespace().next()?.parse().ok());
        number.unwrap_or_else(|| panic!("{file} has no {name}"))
    }
}

/// The binary as it ships: from `ADIEU_STATIC`, where the runner has built it, or built here once.
fn static_binary() -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    let mut build = Command::new("sh");
    build.arg(path("packaging/build-static.sh"));
    let mut build = || succeeds_within(&mut build, harness::BUILD).trim().into();
    BUILT.get_or_init(|| std::env::var_os("ADIEU_STATIC").map_or_else(&mut build, PathBuf::from)).clone()
}

/// podman as root with all that it stores below the test's own folder.
fn podman(scratch: &Scratch) -> Command {
    let mut podman = Command::new("podman");
    podman.arg("--root").arg(scratch.path("store")).arg("--runroot").arg(scratch.path("run"));
    podman.args(["--storage-driver", "vfs", "--cgroup-manager", "cgroupfs", "--runtime", "runc"]);
    podman
}

/// What the command prints, when it exits 0.
fn succeeds(command: &mut Command) -> String {
    succeeds_within(command, LIMIT)
}

fn succeeds_within(command: &mut Command, limit: Duration) -> String {
    let output = harness::output(command, limit);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}: {error}", output.status);
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn path(below: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(below)
}

fn read(below: &str) -> String {
    std::fs::read_to_string(path(below)).unwrap_or_else(|error| panic!("{below}: {error}"))
}

/// Every word that looks like a variable of adieu's.
fn variables(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_ascii_uppercase() && c != '_');
    words
        .filter(|word| word.starts_with("ADIEU_") && word.len() > "ADIEU_".len())
        .map(str::to_owned)
        .collect()
}

/// The variables of adieu's that an example sets, in any of the notations in which examples do so.
/// What is commented out counts, too.
fn assignments(text: &str) -> Vec<(String, String)> {
    // Kubernetes has the value on a line of its own.
    let text = text.replace("\n              value: ", "=");
    let words = text.lines().flat_map(|line| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>());
    let joined = words.collect::<Vec<_>>().join(" ").replace(": ", "=");
    let pairs = joined.split([' ']).filter_map(|word| word[word.find("ADIEU_")?..].split_once('='));
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// By the schemas of the API servers that people run: the oldest and the newest that the validator
/// has, and one between.
#[test]
fn kubernetes_accepts_the_manifests() {
    require!(harness::program("python3"));
    let (deployment, policy) = (read(EXAMPLES[2]), read("packaging/kubernetes/mutating-policy.yaml"));
    let beta = policy.replace("admissionregistration.k8s.io/v1\n", "admissionregistration.k8s.io/v1beta1\n");
    assert_ne!(policy, beta);
    let validates = |version: &str, texts: &[&str]| texts.iter().all(|text| is_valid_in(version, text));
    assert!(validates("1.25.0", &[&deployment]));
    assert!(validates("1.34.0", &[&deployment, &beta]));
    assert!(validates("1.36.0", &[&policy]));
    assert!(validates("1.37.0", &[&deployment, &policy]));
    // So that the checks above can fail.
    assert!(!validates("1.37.0", &[&deployment.replace("replicas: 3", "replicas: three")]));
    assert!(!validates("1.37.0", &[&policy.replace("reinvocationPolicy:", "reinvocation:")]));
}

/// Whether an API server of this version takes the object, by its schema.
fn is_valid_in(version: &str, object: &str) -> bool {
    let scratch = Scratch::new();
    let mut validate = Command::new(kubernetes_validate());
    validate.args(["-m", "kubernetes_validate", "--strict", "--quiet", "-k", version]);
    harness::output(validate.arg(scratch.file("object.yaml", object)), LIMIT).status.success()
}

/// What the Kustomize components make of a Deployment. Whatever it has already is kept.
#[test]
fn the_components_add_the_hook_to_any_deployment() {
    require!(harness::program("python3"));
    let kustomize = harness::output(&mut Command::new(path("tests/kustomize.sh")), LIMIT);
    require!(kustomize.status.success().then_some(()).ok_or("no kustomize"));
    let kustomize = PathBuf::from(String::from_utf8_lossy(&kustomize.stdout).trim());
    let plain = "{apiVersion: apps/v1, kind: Deployment, metadata: {name: other}, spec: {
        selector: {matchLabels: {app: other}}, template: {metadata: {labels: {app: other}}, spec: {
        containers: [{name: web, image: web}, {name: beside, image: beside}]}}}}";
    let full = plain
        .replace(
            "image: web",
            "image: web, volumeMounts: [{name: data, mountPath: /data}], lifecycle: {postStart: \
        {exec: {command: [/hello]}}}",
        )
        .replace("containers:", "volumes: [{name: data, emptyDir: {}}], containers:");
    let readme = read("README.md");
    let hook = readme.split("```yaml\n").find_map(|text| text.strip_prefix("lifecycle:")?.split_once("```"));
    let hook = as_json(&format!("lifecycle:{}", hook.expect("the hook in the README").0));
    for (component, since) in [("wait", "1.25.0"), ("wait-image-volume", "1.33.0")] {
        for deployment in [plain, &full] {
            let rendered = render(&kustomize, component, deployment);
            for version in [since, "1.34.0", "1.37.0"] {
                assert!(is_valid_in(version, &rendered), "{component} in {version}:\n{rendered}");
            }
            let object = as_json(&rendered);
            let pod = &object["spec"]["template"]["spec"];
            let (web, beside) = (&pod["containers"][0], &pod["containers"][1]);
            assert_eq!(web["lifecycle"]["preStop"], hook["lifecycle"]["preStop"], "{rendered}");
            let mounted = serde_json::json!({"name": "adieu", "mountPath": "/opt/adieu", "readOnly": true});
            let has = |list: &serde_json::Value, wanted: &serde_json::Value| {
                list.as_array().is_some_and(|list| list.contains(wanted))
            };
            assert!(has(&web["volumeMounts"], &mounted), "{rendered}");
            assert_eq!((&web["image"], &web["command"]), (&"web".into(), &serde_json::Value::Null));
            assert_eq!(*beside, serde_json::json!({"name": "beside", "image": "beside"}));
            let (copies, volume) = (&pod["initContainers"][0]["image"], &pod["volumes"]);
            let images = volume.as_array().into_iter().flatten().map(|one| &one["image"]["reference"]);
            let named = images.chain([copies]).filter(|image| !image.is_null()).collect::<Vec<_>>();
            assert_eq!(named, ["registry.example/adieu:0.1.0"], "{rendered}");
            assert_eq!(pod["initContainers"].is_array(), component == "wait", "{rendered}");
            if deployment == full {
                assert_eq!(web["lifecycle"]["postStart"]["exec"]["command"][0], "/hello", "{rendered}");
                assert!(
                    has(&pod["volumes"], &serde_json::json!({"name": "data", "emptyDir": {}})),
                    "{rendered}"
                );
                assert!(has(
                    &web["volumeMounts"],
                    &serde_json::json!({"name": "data", "mountPath": "/data"})
                ));
            }
        }
    }
    // So that the schemas' verdicts above can fail: a volume that an old server does not know.
    assert!(!is_valid_in("1.25.0", &render(&kustomize, "wait-image-volume", plain)));
}

/// The one object that a kustomization of this object and the component is.
fn render(kustomize: &Path, component: &str, object: &str) -> String {
    let folder = Scratch::new();
    let from = path("packaging/kubernetes").join(component);
    std::fs::create_dir(folder.path(component)).expect("a new folder");
    for file in std::fs::read_dir(&from).expect("it ships").flatten() {
        std::fs::copy(file.path(), folder.path(component).join(file.file_name())).expect("room for a copy");
    }
    folder.file("object.yaml", object);
    // As the comment at the top of each component says.
    let shown = read(&format!("packaging/kubernetes/{component}/kustomization.yaml"));
    let lines: Vec<&str> = shown.lines().filter_map(|line| line.strip_prefix("#     ")).collect();
    assert!(lines.len() >= 2, "{shown}");
    folder.file("kustomization.yaml", &format!("resources: [object.yaml]\n{}\n", lines.join("\n")));
    let rendered = succeeds(Command::new(kustomize).arg("build").arg(folder.path("")));
    assert!(!rendered.contains("\n---\n") && !rendered.contains("ConfigMap"), "one object: {rendered}");
    rendered
}

fn as_json(yaml: &str) -> serde_json::Value {
    let script = "import json, sys, yaml; json.dump(yaml.safe_load(sys.stdin), sys.stdout)";
    let mut python = Command::new(kubernetes_validate());
    let output = harness::output_given(python.args(["-c", script]), yaml.as_bytes(), LIMIT);
    serde_json::from_slice(&output.stdout).expect("YAML")
}

/// What the policy makes of pods, by its own expressions.
#[test]
fn the_admission_policy_adds_the_hook_and_nothing_else() {
    require!(harness::program("python3"));
    let scratch = Scratch::new();
    let policy = read("packaging/kubernetes/mutating-policy.yaml");
    let python = kubernetes_validate();
    let evaluates = |policy: &str| {
        let mut evaluate = Command::new(&python);
        evaluate.arg(path("tests/kubernetes_policy.py")).arg(scratch.file("policy.yaml", policy));
        harness::output(&mut evaluate, LIMIT)
    };
    let output = evaluates(&policy);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    // So that it can fail: a field that the API does not have, a list that is replaced, no condition.
    for (right, wrong) in [
        ("mountPath: ", "mountpath: "),
        ("? \"/spec/volumes/-\" : \"/spec/volumes\"", "? \"/spec/volumes\" : \"/spec/volumes\""),
        ("!has(object.spec.containers[0].lifecycle.preStop)", "true"),
    ] {
        assert!(policy.contains(right), "the policy has no {right}");
        assert!(!evaluates(&policy.replace(right, wrong)).status.success(), "{wrong}");
    }
}

/// The Python of an environment that has the validator and an evaluator of CEL, made once below
/// target.
fn kubernetes_validate() -> PathBuf {
    const PACKAGES: [&str; 2] = ["kubernetes-validate==1.37.0", "cel-python==0.5.0"];
    static MADE: OnceLock<PathBuf> = OnceLock::new();
    MADE.get_or_init(|| {
        let folder = path("target/kubernetes-validate");
        let (python, complete) = (folder.join("bin/python"), folder.join("complete"));
        if std::fs::read_to_string(&complete).ok() != Some(PACKAGES.concat()) {
            succeeds(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&folder));
            let mut install = Command::new(&python);
            install.args(["-m", "pip", "install", "--quiet"]).args(PACKAGES);
            succeeds_within(&mut install, harness::BUILD);
            std::fs::write(&complete, PACKAGES.concat()).expect("a new file");
        }
        python
    })
    .clone()
}
