import { tellClientsAtOnce } from './clients-at-once.ts'
import { tellEveryClient } from './every-client.ts'

tellEveryClient('sid')
tellClientsAtOnce('sid')
