// All that is ours in this server: the numbers of sales orders and their items, which SAP takes from its number ranges, and
// the material that an item was entered with, which SAP keeps.
const cds = require('@sap/cds')

module.exports = srv => {
  const { A_SalesOrder } = srv.entities
  srv.before('CREATE', A_SalesOrder, async ({ data }) => {
    const { last } = await SELECT.one.from(A_SalesOrder).columns('max(SalesOrder) as last')
    data.SalesOrder = String(Number(last ?? 0) + 1).padStart(10, '0')
    data.to_Item?.forEach((item, n) => Object.assign(item, {
      SalesOrder: data.SalesOrder, SalesOrderItem: String(10 * (n + 1)), OriginallyRequestedMaterial: item.Material
    }))
    data.to_Text?.forEach(text => Object.assign(text, { SalesOrder: data.SalesOrder }))
  })
}
