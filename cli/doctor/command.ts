import { command } from '../../core/command.ts'
import { UsageError } from '../../core/errors.ts'
import { isNodeId } from '../../core/metainfo.ts'
import { CONTROL_FLAG } from '../../guard/control.ts'
import { localNode, NODE_FLAGS, nodeConfigFile, nodeDataDir } from '../local-node.ts'
import { runningSettings } from '../running-settings.ts'
import { lookOf } from '../table.ts'
import { type About, lookAtNode, runHere, SERVER_PATIENCE_MS } from './about.ts'
import { examine, examineOther } from './examine.ts'
import { lookAtSettings, withRunning } from './look/settings.ts'
import { exitCodeOf, reportJson, reportText } from './report.ts'

export const doctorCommand = command({
  positionals: [],
  flags: {
    ...NODE_FLAGS,
    node: {
      type: 'string',
      value: 'id',
      description: 'Only says whether that node of the cluster is reached, from the tracker and from here.',
    },
    control: CONTROL_FLAG,
    json: { type: 'boolean', description: 'Prints the findings as JSON (docs/doctor.md).' },
  },
  async run(values, _positionals, outside) {
    const { env } = outside
    const other = values.node
    if (other !== undefined && !isNodeId(other)) {
      throw new UsageError('--node: expected the 40 hex digits of a node’s id', {
        hint: '`shoal status` on that machine shows it.',
      })
    }
    const file = nodeConfigFile(values, outside)
    const root = '/'
    const node = localNode(values, outside)
    const found = lookAtSettings({ file, dataDir: values['data-dir'], env, root })
    const running = await runningSettings(node)
    const { facts: settings, config } = running === undefined ? found : withRunning(found, running)
    const isKnown = running !== undefined || settings.error === undefined
    const facts = await lookAtNode(node, isKnown ? config.dataDir : nodeDataDir(values, outside))
    const about: About = {
      env,
      config,
      node,
      guardControl: values.control,
      root,
      run: runHere,
      patienceMs: SERVER_PATIENCE_MS,
      facts,
    }
    const reports = other === undefined ? await examine(about, settings) : await examineOther(about, other)
    outside.exitWith(exitCodeOf(reports))
    return values.json ? reportJson(reports) : reportText(reports, lookOf(outside))
  },
})
