// What the API sends and takes, named as in Go.

export type Lane = "software" | "variable" | "pattern";
export type Values = Record<string, unknown>;

export interface Page<T> {
  items: T[];
  next?: string;
}

export interface Me {
  id: string;
  name: string;
  title: string;
  admin: boolean;
  disciplines: string[] | null;
  teams: Record<string, string> | null;
  may: string[] | null;
  may_in_team: Record<string, string[] | null> | null;
}

export interface Pin {
  name: string;
  range?: string;
  version?: string;
  digest?: string;
}
export interface App {
  id: string;
  name: string;
  title: string;
  team: string;
  state: "active" | "removing" | "removed";
  pattern: Pin;
  createdBy: string;
  createdAt: string;
  repository: string;
  instances: Instance[];
  environments: Environment[];
  recommended?: string;
}
export interface Desired {
  pattern: string;
  version: string;
  digest: string;
  variables: Values | null;
  artifact: string;
  source?: string;
}
export interface Instance {
  id: string;
  app: string;
  environment: string;
  state: "new" | "deploying" | "healthy" | "degraded" | "removed";
  reason?: string;
  deployed: Desired;
  url?: string;
  runningDeployment?: string;
  pinnedBy?: string;
  updatedAt: string;
}
export interface Environment {
  name: string;
  class: "development" | "staging" | "production";
  after?: string;
  order: number;
  target: string;
  onNewer: string;
  values: Values;
  updatedAt: string;
}

export type ChangeState =
  | "checking" | "waiting" | "review" | "held" | "ready" | "refused" | "failed" | "blocked"
  | "merging" | "merged" | "deployed" | "rolled_back" | "closed" | "rejected";
export interface Reason {
  environment?: string;
  variable?: string;
  text: string;
}
export interface Effect {
  environment: string;
  action: "deploy" | "remove";
  plan: boolean;
}
export interface Change {
  id: string;
  kind: "app" | "pattern";
  subject: string;
  team?: string;
  branch: string;
  title: string;
  body?: string;
  state: ChangeState;
  why?: string;
  remedy?: string;
  lane?: Lane;
  reasons: Reason[];
  effects: Effect[];
  revision: number;
  head: string;
  main?: string;
  merged?: string;
  story?: string;
  needs?: string;
  reverts?: string;
  revert?: string;
  fixForward?: string;
  opener: string;
  authors: string[];
  openedAt: string;
  updatedAt: string;
}
export type CheckState = "running" | "passed" | "failed" | "held" | "warning";
export interface Check {
  id: string;
  change: string;
  revision: number;
  name: string;
  state: CheckState;
  summary: string;
  detail?: unknown;
  log?: string;
  startedAt: string;
  finishedAt?: string;
}
export interface Approval {
  discipline: string;
  person: string;
  name: string;
  decision: "approved" | "rejected";
  reason?: string;
  digest: string;
  at: string;
}
export interface AffectedInstance {
  app: string;
  environment: string;
  version: string;
  summary: string;
  breaking: boolean;
  destructive?: string[];
  outOfBounds?: string[];
  planDigest?: string;
  plan?: unknown;
  error?: string;
}
export interface Certification {
  version: string;
  bump: string;
  reasons: string[];
  instances: AffectedInstance[];
  approvals: Approval[];
  needed: Record<string, number>;
  digest: string;
}
export interface ChangeDetail {
  change: Change;
  checks: Check[];
  deployments: Deployment[];
  certification?: Certification;
  heldDigest?: string;
  mayDecide: string[];
}
export interface Preview {
  lane: Lane | "";
  reasons: Reason[];
  effects: Effect[];
  held: boolean;
  refused?: string;
  remedy?: string;
  fields?: { path: string; message: string }[];
}
export interface FileDiff {
  path: string;
  oldPath?: string;
  status: "added" | "modified" | "deleted" | "renamed" | "type_changed";
  oldMode: string;
  newMode: string;
  added: number;
  removed: number;
  binary: boolean;
  patch: string;
  truncated: boolean;
}

export type DeploymentState =
  | "waiting" | "running" | "held" | "succeeded" | "failed" | "cancelled" | "superseded" | "interrupted";
export interface Step {
  position: number;
  name: string;
  state: "running" | "succeeded" | "failed" | "held";
  detail?: string;
  startedAt: string;
  finishedAt?: string;
}
export interface Probe {
  url: string;
  status?: number;
  error?: string;
  milliseconds: number;
  at: string;
}
export interface Deployment {
  id: string;
  app: string;
  environment: string;
  instance: string;
  number: number;
  change?: string;
  trigger: "change" | "rollback" | "redeploy";
  kind: "release" | "infrastructure" | "destroy";
  state: DeploymentState;
  reason?: string;
  desired: Desired;
  previous: Desired;
  plan?: unknown;
  planDigest?: string;
  evidence: Probe[];
  createdBy: string;
  createdAt: string;
  startedAt?: string;
  finishedAt?: string;
  steps?: Step[];
}

export type PlanAction = "no-op" | "create" | "read" | "update" | "replace" | "delete" | "forget";
export interface ResourceChange {
  address: string;
  previous?: string;
  type: string;
  data?: boolean;
  action: PlanAction;
  reason?: string;
  replace_paths?: string[];
  before: unknown;
  after: unknown;
}
export interface Plan {
  engine?: string;
  changes: ResourceChange[];
  drift?: ResourceChange[];
  outputs?: { name: string; action: PlanAction; before: unknown; after: unknown }[];
  checks?: { address: string; status: string; problems: string[] }[];
}

export interface Schema {
  type?: string | string[];
  title?: string;
  description?: string;
  default?: unknown;
  enum?: unknown[];
  const?: unknown;
  minimum?: number;
  maximum?: number;
  exclusiveMinimum?: number;
  exclusiveMaximum?: number;
  multipleOf?: number;
  minLength?: number;
  maxLength?: number;
  pattern?: string;
  format?: string;
  items?: Schema;
  minItems?: number;
  maxItems?: number;
  properties?: Record<string, Schema>;
  required?: string[];
  readOnly?: boolean;
}
export interface EnvironmentForm {
  name: string;
  class: string;
  schema: Schema;
  values: Values | null;
}

export type VersionState = "draft" | "in_review" | "certified" | "deprecated" | "retired";
export interface PatternVariable {
  name: string;
  type: string;
  description?: string;
  required: boolean;
  default?: unknown;
  sensitive?: boolean;
  control: "team" | "coe" | "platform";
  bounds?: Schema;
}
export interface PatternVersion {
  id: string;
  pattern: string;
  version: string;
  digest: string;
  state: VersionState;
  recommended: boolean;
  manifest?: {
    spec: {
      variables: Record<string, { control: string; classes?: Record<string, Schema> }> | null;
      approvals: Record<string, number> | null;
      release: { driver: string; output?: string; url?: string };
    };
  } | null;
  interface: { variables: PatternVariable[] | null; outputs: string[] | null };
  readme?: string;
  commit: string;
  change?: string;
  createdAt: string;
}
export interface Pattern {
  name: string;
  title: string;
  owner?: string;
  createdAt: string;
  recommended?: string;
  versions: PatternVersion[] | null;
  repository?: string;
}

export interface Story {
  id: string;
  key: string;
  title: string;
  team: string;
  state: "open" | "done";
  createdBy: string;
  createdAt: string;
}

export interface HomeItem {
  change?: Change;
  deployment?: Deployment;
}
export interface Home {
  moving: HomeItem[];
  waiting: HomeItem[];
}

export interface LiveEvent {
  type: string;
  subject?: string;
  app?: string;
}
