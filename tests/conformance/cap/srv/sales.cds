// API_SALES_ORDER_SRV of SAP S/4HANA as far as the connector reads and writes it: names, types and lengths are those of
// SAP's own client for it, @sap/cloud-sdk-vdm-sales-order-service 2.1.0, but for OriginallyRequestedMaterial, which newer
// releases have (docs/odata.md says where that is from). Everything else is CAP's.
@path: 'API_SALES_ORDER_SRV'
@requires: 'authenticated-user'
service API_SALES_ORDER_SRV {
  @cds.query.limit.max: 10 // so that answers are cut and lead on, as SAP's do
  entity A_SalesOrder {
    key SalesOrder                 : String(10);
        SalesOrderType             : String(4)  @mandatory;
        SalesOrganization          : String(4)  @mandatory;
        DistributionChannel        : String(2)  @mandatory;
        OrganizationDivision       : String(2)  @mandatory;
        SoldToParty                : String(10) @mandatory @assert.format: '^P';
        PurchaseOrderByCustomer    : String(35);
        PurchaseOrderByShipToParty : String(35);
        PriceListType              : String(2);
        CreationDate               : Date       @cds.on.insert: $now;
        LastChangeDateTime         : Timestamp  @cds.on.insert: $now @cds.on.update: $now @odata.etag;
        to_Item                    : Composition of many A_SalesOrderItem
                                       on to_Item.SalesOrder = SalesOrder;
        to_Text                    : Composition of many A_SalesOrderText
                                       on to_Text.SalesOrder = SalesOrder;
  }

  entity A_SalesOrderItem {
    key SalesOrder              : String(10);
    key SalesOrderItem          : String(6);
        HigherLevelItem         : String(6);
        Material                : String(40) @mandatory;
        MaterialByCustomer      : String(35);
        OriginallyRequestedMaterial : String(40);
        RequestedQuantity       : Decimal(15, 3) @mandatory;
        RequestedQuantityUnit   : String(3);
        ProductionPlant         : String(4);
        SalesDocumentRjcnReason : String(2);
        to_ScheduleLine         : Composition of many A_SalesOrderScheduleLine
                                    on  to_ScheduleLine.SalesOrder     = SalesOrder
                                    and to_ScheduleLine.SalesOrderItem = SalesOrderItem;
  }

  entity A_SalesOrderScheduleLine {
    key SalesOrder                    : String(10);
    key SalesOrderItem                : String(6);
    key ScheduleLine                  : String(4);
        RequestedDeliveryDate         : Date;
        ConfirmedDeliveryDate         : Date;
        ScheduleLineOrderQuantity     : Decimal(13, 3);
        ConfdOrderQtyByMatlAvailCheck : Decimal(13, 3);
  }

  entity A_SalesOrderText {
    key SalesOrder : String(10);
    key Language   : String(2);
    key LongTextID : String(4);
        LongText   : LargeString;
  }
}
