"""What the dashboard shows: rows of panels of queries. make_dashboard.py turns this into Grafana's JSON; nothing here knows its form.

Queries may use $instance and $tenant (regular expressions) and $__rate_interval (a window that holds four scrapes).
"""
import dataclasses


@dataclasses.dataclass(frozen=True)
class Query:
    expr: str
    legend: str  # with {{label}}
    color: str = ""  # of Grafana's names; "": the next of the palette
    dashed: bool = False  # a limit or a target, not a measurement
    instant: bool = False  # of a table: the newest value only


@dataclasses.dataclass(frozen=True)
class Panel:
    title: str
    description: str
    unit: str  # of Grafana's units
    queries: tuple
    width: int = 8  # of 24
    kind: str = "timeseries"  # or heatmap, state-timeline, table
    stacked: bool = False
    minimum: float = None
    maximum: float = None
    decimals: int = None
    # What an empty panel says. An empty panel is fine only if `may_be_empty` says when; it becomes the description's last sentence.
    no_value: str = "no data: is a server scraped?"
    may_be_empty: str = ""
    mappings: tuple = ()  # of (value, text, color)


@dataclasses.dataclass(frozen=True)
class Row:
    title: str
    panels: tuple


HERE = 'instance=~"$instance"'
EXPERTS = ("dark-blue", "blue", "super-light-blue")


def quantiles(family):
    def one(share, name, color):
        return Query(f'histogram_quantile({share}, sum by (le) (rate({family}_bucket{{{HERE}}}[$__rate_interval])))', name, color)
    return (one(0.5, "median", "green"), one(0.95, "95 %", "yellow"), one(0.99, "99 %", "red"))


def total(family, labels="", legend="", **style):
    return Query(f"sum({family}{{{HERE}{labels}}})", legend, **style)


def rate(family, by="", legend="", labels="", **style):
    grouping = f"sum by ({by})" if by else "sum"
    return Query(f"{grouping} (rate({family}{{{HERE}{labels}}}[$__rate_interval]))", legend, **style)


def within(family, bound):
    """The share of a histogram's observations up to a bound of its buckets."""
    return (f'sum(rate({family}_bucket{{{HERE}, le="{bound}"}}[$__rate_interval]))'
            f' / (sum(rate({family}_count{{{HERE}}}[$__rate_interval])) > 0)')


IDLE = "no requests in this time"
WHILE_IDLE = "Empty while no request is served."
NO_TENANTS = "no tenants: the server has no access_file"
WITHOUT_TENANTS = "Empty without an access_file."

SERVICE_LEVELS = Row("Service levels", (
    Panel("Time to first token", "From a request's arrival to its first token, the queue included. The objective is 99 % within 2.5 s.",
          "s", quantiles("ration_time_to_first_token_seconds"), minimum=0, no_value=IDLE, may_be_empty=WHILE_IDLE),
    Panel("Time between tokens", "Between two tokens of a request: what a reader sees. The objective is 99 % within 200 ms.",
          "s", quantiles("ration_inter_token_latency_seconds"), minimum=0, no_value=IDLE, may_be_empty=WHILE_IDLE),
    Panel("Within the objective", "Shares of first tokens that came within 2.5 s and of gaps between tokens up to 200 ms. The alerts "
          "RationFirstTokenSlow and RationTokensSlow watch them.", "percentunit",
          (Query(within("ration_time_to_first_token_seconds", "2.5"), "first tokens within 2.5 s", "blue"),
           Query(within("ration_inter_token_latency_seconds", "0.2"), "gaps within 200 ms", "green"),
           Query("vector(0.99)", "objective", "red", dashed=True)), minimum=0.9, maximum=1, no_value=IDLE, may_be_empty=WHILE_IDLE),
    Panel("Tokens a second", "Prompt tokens processed and tokens generated, of all servers chosen above.", "tokens/s",
          (rate("ration_prompt_tokens_total", legend="prompt", color="blue"),
           rate("ration_generated_tokens_total", legend="generated", color="green")), width=12, minimum=0),
    Panel("Requests ended", "Requests a second by how they ended. stop and length are what clients want; aborted and deadline are the "
          "clients' doing; slow_reader, shed, shutdown and error are not.", "reqps",
          (rate("ration_requests_total", by="outcome", legend="{{outcome}}"),), width=12, stacked=True, minimum=0),
))

BUDGET = Row("Budget and pressure", (
    Panel("KV memory", "Bytes of pages that hold tokens (used) and, of these, of unused tails of pages (waste); bytes promised to running "
          "requests with every token at its floor (reserved); the budget in force and the one that a change under way asks for. Used above "
          "the budget would be a bug.", "bytes",
          (total("ration_kv_used_bytes", legend="used", color="blue"),
           total("ration_kv_reserved_bytes", legend="reserved", color="orange"),
           total("ration_kv_waste_bytes", legend="waste", color="purple"),
           total("ration_kv_budget_bytes", legend="budget", color="red", dashed=True),
           total("ration_kv_target_budget_bytes", legend="budget asked for", color="dark-red", dashed=True)), width=12, minimum=0),
    Panel("Pressure", "Used and reserved bytes over the budget, by server. Used near 1 is the governor's normal state under load: it fills "
          "the memory with as much quality as fits. Reserved near 1 means that what comes next must wait.", "percentunit",
          (Query(f"ration_kv_usage_ratio{{{HERE}}}", "used, {{instance}}"),
           Query(f"ration_kv_reserved_ratio{{{HERE}}}", "reserved, {{instance}}")), width=12, minimum=0, maximum=1),
    Panel("Demand at full KV", "How many budgets the cached tokens would fill if every token kept all its heads: used / budget / realised "
          "KV fraction. Below 1 nothing is squeezed. This is what the autoscaler follows, by default to 1.5.", "none",
          (Query(f'ration_kv_usage_ratio{{{HERE}}} / on (job, namespace, pod, instance) ration_kv_fraction{{{HERE}, kind="realised"}}',
                 "{{instance}}"),
           Query("vector(1)", "the budget", "red", dashed=True)), width=12, minimum=0, decimals=2),
    Panel("Waste", "Share of used bytes that hold no token: the unused tails of pages, about one page for each sequence, layer and expert.",
          "percentunit",
          (Query(f"sum(ration_kv_waste_bytes{{{HERE}}}) / (sum(ration_kv_used_bytes{{{HERE}}}) > 0)", "waste", "purple"),),
          width=12, minimum=0, no_value="nothing is cached", may_be_empty="Empty while nothing is cached."),
))

ROUTING = Row("Routing", (
    Panel("Tokens cached, by expert", "Tokens in the cache now (mean over the layers). Expert 1 keeps all key/value heads, the last the "
          "fewest.", "short", (Query(f"sum by (expert) (ration_kv_tokens{{{HERE}}})", "expert {{expert}}"),), stacked=True, minimum=0),
    Panel("New tokens, by expert", "Tokens a second that the routers gave to each expert, of prompts and of generated text.", "tokens/s",
          (rate("ration_routed_tokens_total", by="expert", legend="expert {{expert}}"),), stacked=True, minimum=0),
    Panel("KV fraction", "KV bytes of a token against full KV, mean over servers: requested by the ratio in force for new tokens, wanted by "
          "the governor, realised by what is cached; between the policy's floor and ceiling.", "percentunit",
          (Query(f'avg(ration_kv_fraction{{{HERE}, kind="requested"}})', "requested", "blue"),
           Query(f'avg(ration_kv_fraction{{{HERE}, kind="wanted"}})', "wanted", "yellow"),
           Query(f'avg(ration_kv_fraction{{{HERE}, kind="realised"}})', "realised", "green"),
           Query(f"avg(ration_kv_floor{{{HERE}}})", "floor", "red", dashed=True),
           Query(f"avg(ration_kv_ceiling{{{HERE}}})", "ceiling", "dark-red", dashed=True)), minimum=0, maximum=1),
    Panel("Shares of new tokens: requested and realised", "The share of new tokens that each expert is to get (dashed) and gets. They agree "
          "within 2 points over 2,000 tokens at a steady ratio; while the ratio moves the realised share follows.", "percentunit",
          (Query(f"avg by (expert) (ration_expert_ratio{{{HERE}}})", "expert {{expert}}, requested", dashed=True),
           Query(f"sum by (expert) (rate(ration_routed_tokens_total{{{HERE}}}[$__rate_interval]))"
                 f" / on () group_left () (sum(rate(ration_routed_tokens_total{{{HERE}}}[$__rate_interval])) > 0)",
                 "expert {{expert}}, realised")), width=12, minimum=0, maximum=1, may_be_empty=WHILE_IDLE),
    Panel("Router score of expert 1", "How much the routers want to keep all heads of the tokens routed: the distribution over time, all "
          "layers. Mass at one end only means that the routers do not tell tokens apart.", "none",
          (Query(f'sum by (le) (increase(ration_router_score_bucket{{{HERE}, expert="1"}}[$__rate_interval]))', "{{le}}"),), width=12,
          kind="heatmap", no_value=IDLE),
))

GOVERNOR = Row("Governor", (
    Panel("Tokens regrouped", "Cached tokens a second moved to a cheaper expert (mean over the layers).", "tokens/s",
          (Query(f'sum by (from, to) (rate(ration_regrouped_tokens_total{{{HERE}}}[$__rate_interval]))', "expert {{from}} to {{to}}"),),
          stacked=True, minimum=0),
    Panel("Ratio changes", "Epochs a minute: every new ratio, policy or budget, whoever made it, is one. The governor makes up to a thousand "
          "a minute for the seconds in which it gives memory back; hundreds without end, up and down, are flapping.", "none",
          (Query(f"60 * rate(ration_policy_epoch{{{HERE}}}[$__rate_interval])", "{{instance}}"),), minimum=0, decimals=0),
    Panel("Who chooses the ratio", "The governor, or an operator (`rationctl ratio`).", "none",
          (Query(f"ration_policy_mode_auto{{{HERE}}}", "{{instance}}"),), kind="state-timeline",
          mappings=(("1", "governor", "green"), ("0", "operator", "orange"))),
    Panel("Cost of control", "Share of the engine's time that goes into regrouping, and into governor, admission and scheduling together.",
          "percentunit",
          (Query(f"sum(rate(ration_regroup_seconds_sum{{{HERE}}}[$__rate_interval]))"
                 f" / (sum(rate(ration_step_seconds_sum{{{HERE}}}[$__rate_interval])) > 0)", "regrouping", "orange"),
           Query(f"sum(rate(ration_control_seconds_sum{{{HERE}}}[$__rate_interval]))"
                 f" / (sum(rate(ration_step_seconds_sum{{{HERE}}}[$__rate_interval])) > 0)", "control", "blue")),
          width=12, minimum=0, no_value="no steps in this time", may_be_empty="Empty while the engine runs no step."),
    Panel("Preemptions and recomputing", "Sequences a second whose pages were dropped, and tokens a second computed again for it. Zero, "
          "unless admission_overcommit is above 1 or the policy is preempt.", "short",
          (rate("ration_preemptions_total", legend="sequences/s", color="red"),
           rate("ration_recomputed_tokens_total", legend="tokens/s", color="orange")), width=12, minimum=0),
))

QUEUE = Row("Queue and admission", (
    Panel("Requests", "Requests that generate (running) and that wait (waiting).", "short",
          (total("ration_requests_running", legend="running", color="green"),
           total("ration_requests_waiting", legend="waiting", color="orange")), minimum=0),
    Panel("Time in the queue", "From a request's arrival until it is first scheduled.", "s", quantiles("ration_queue_seconds"), minimum=0,
          no_value=IDLE, may_be_empty=WHILE_IDLE),
    Panel("Requests refused", "Requests a second refused, by reason: queue_full and queue_tokens mean too little capacity; too_large and "
          "context_too_long can never be served; draining goes away by itself.", "reqps",
          (rate("ration_admission_rejections_total", by="reason", legend="{{reason}}"),), stacked=True, minimum=0),
    Panel("Requests, by tenant", "Requests of each tenant that generate and that wait.", "short",
          (Query(f'sum by (tenant) (ration_tenant_requests_running{{{HERE}, tenant=~"$tenant"}})', "{{tenant}}, running"),
           Query(f'sum by (tenant) (ration_tenant_requests_waiting{{{HERE}, tenant=~"$tenant"}})', "{{tenant}}, waiting", dashed=True)),
          width=12, minimum=0, no_value=NO_TENANTS, may_be_empty=WITHOUT_TENANTS),
    Panel("KV memory, by tenant", "Bytes reserved by the running requests of each tenant, and the tenant's quota (dashed).", "bytes",
          (Query(f'sum by (tenant) (ration_tenant_kv_reserved_bytes{{{HERE}, tenant=~"$tenant"}})', "{{tenant}}, reserved"),
           Query(f'sum by (tenant) (ration_tenant_kv_quota_bytes{{{HERE}, tenant=~"$tenant"}})', "{{tenant}}, quota", dashed=True)),
          width=12, minimum=0, no_value=NO_TENANTS, may_be_empty=WITHOUT_TENANTS),
    Panel("Tokens a second, by tenant", "Prompt and generated tokens of each tenant.", "tokens/s",
          (Query(f'sum by (tenant, phase) (rate(ration_tenant_tokens_total{{{HERE}, tenant=~"$tenant"}}[$__rate_interval]))',
                 "{{tenant}}, {{phase}}"),), width=12, stacked=True, minimum=0, no_value=NO_TENANTS, may_be_empty=WITHOUT_TENANTS),
    Panel("Requests refused, by tenant", "Requests a second that were refused for the tenant's quota or the server's limits, by reason.",
          "reqps",
          (Query(f'sum by (tenant, reason) (rate(ration_tenant_rejections_total{{{HERE}, tenant=~"$tenant"}}[$__rate_interval]))',
                 "{{tenant}}, {{reason}}"),), width=12, stacked=True, minimum=0, no_value=NO_TENANTS, may_be_empty=WITHOUT_TENANTS),
))

PROCESS = Row("Process", (
    Panel("Engine step", "Time of one engine step: the floor of the time between two tokens.", "s", quantiles("ration_step_seconds"),
          minimum=0, no_value="no steps in this time", may_be_empty="Empty while the engine runs no step."),
    Panel("Tokens in a step", "Mean number of tokens that one step computes: how well work is batched.", "short",
          (Query(f"sum by (instance) (rate(ration_step_tokens_sum{{{HERE}}}[$__rate_interval]))"
                 f" / (sum by (instance) (rate(ration_step_tokens_count{{{HERE}}}[$__rate_interval])) > 0)", "{{instance}}"),), minimum=0,
          decimals=1, no_value="no steps in this time", may_be_empty="Empty while the engine runs no step."),
    Panel("Processors in use", "Processor seconds a second.", "short",
          (Query(f"rate(process_cpu_seconds_total{{{HERE}}}[$__rate_interval])", "{{instance}}"),), minimum=0, decimals=2),
    Panel("Resident memory", "Memory of the process: weights, the used part of the KV cache, and some 200 MiB of libraries and buffers.",
          "bytes", (Query(f"process_resident_memory_bytes{{{HERE}}}", "{{instance}}"),), minimum=0),
    Panel("Threads and descriptors", "Threads and open file descriptors; a descriptor for each connection.", "short",
          (Query(f"process_threads{{{HERE}}}", "threads, {{instance}}"),
           Query(f"process_open_fds{{{HERE}}}", "descriptors, {{instance}}")), minimum=0),
    Panel("Engine", "Whether the engine steps. It is stalled if it has work and has run no step for stall_timeout.", "none",
          (Query(f"ration_engine_stalled{{{HERE}}}", "{{instance}}"),), kind="state-timeline",
          mappings=(("0", "alive", "green"), ("1", "STALLED", "red"))),
    Panel("Servers", "What runs where: the model and its type, the version, and for how long.", "s",
          (Query(f"(time() - process_start_time_seconds{{{HERE}}})"
                 " * on (job, namespace, pod, instance) group_left (name, family, dtype) ration_model_info"
                 " * on (job, namespace, pod, instance) group_left (version) ration_build_info", "{{instance}}", instant=True),),
          width=24, kind="table"),
))

ROWS = (SERVICE_LEVELS, BUDGET, ROUTING, GOVERNOR, QUEUE, PROCESS)
